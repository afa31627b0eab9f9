/* SPDX-License-Identifier: BSD-3-Clause */
#include <ramferry/version.h>

#define STR_(x)	     #x
#define STR(x)	     STR_(x)
#define DOT(a, b, c) STR(a) "." STR(b) "." STR(c)

const char *rf_version(void)
{
	return DOT(RF_VERSION_MAJOR, RF_VERSION_MINOR, RF_VERSION_PATCH);
}
