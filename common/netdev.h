/* SPDX-License-Identifier: BSD-3-Clause */
/* Which network device has a local address. */
#ifndef RF_COMMON_NETDEV_H
#define RF_COMMON_NETDEV_H

#include <stddef.h>

/* Name of the network device that has a numeric local address ("10.0.0.1", "fe80::1%eth0").
 * RF_ERR_NOT_FOUND: none has, RF_ERR_INVALID: not an address, RF_ERR_SYSTEM. */
int rf_netdev_of_address(const char *address, char *name, size_t cap);

#endif
