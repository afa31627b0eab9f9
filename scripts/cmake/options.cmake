# SPDX-License-Identifier: BSD-3-Clause
# Warnings, sanitizers and coverage for everything that is built.
add_compile_options(-Wall -Wextra -Wshadow -Wformat=2 -Wmissing-prototypes -Wstrict-prototypes
	-Wvla -Wcast-function-type -Wno-unused-parameter -fno-common)
# No -fvisibility=hidden: what the shared library exports is decided by ramferry.map alone, which
# cannot bring back a hidden symbol.
add_compile_definitions(_GNU_SOURCE)
if(RF_WERROR)
	add_compile_options(-Werror)
endif()
if(RF_FAULTS)
	add_compile_definitions(RF_FAULTS)
endif()
if(RF_SANITIZE)
	add_compile_options(-fsanitize=${RF_SANITIZE} -fno-omit-frame-pointer
		-fno-sanitize-recover=all -O1)
	add_link_options(-fsanitize=${RF_SANITIZE})
endif()
if(RF_COVERAGE)
	add_compile_options(--coverage)
	add_link_options(--coverage)
endif()
