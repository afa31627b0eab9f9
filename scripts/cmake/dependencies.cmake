# SPDX-License-Identifier: BSD-3-Clause
# What the library stands on. The list is used three times: to build, for the .pc file, and for the
# CMake package of an installed ramferry.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# rf_depend(NAME REQUIRED|OPTIONAL MODULE …): pkg-config modules as target PkgConfig::NAME; if they
# are there NAME goes to RF_DEPENDENCIES.
macro(rf_depend name need)
	if(${need} STREQUAL REQUIRED)
		pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${ARGN})
	else()
		pkg_check_modules(${name} IMPORTED_TARGET ${ARGN})
	endif()
	if(${name}_FOUND)
		list(APPEND RF_DEPENDENCIES ${name})
		string(REPLACE ";" " " RF_MODULES_${name} "${ARGN}")
	endif()
endmacro()

rf_depend(FABRIC REQUIRED libfabric)
rf_depend(HWLOC REQUIRED hwloc)
rf_depend(XXHASH REQUIRED libxxhash)
rf_depend(URING REQUIRED liburing)
rf_depend(VERBS OPTIONAL libibverbs librdmacm)

if(VERBS_FOUND)
	set(RF_HAVE_VERBS ON)
	add_compile_definitions(RF_HAVE_VERBS)
else()
	message(STATUS "Without transport verbs: it needs libibverbs-dev and librdmacm-dev")
endif()
