/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The TCP connection of client and server. The first message each way says who speaks; a server
 * goes on waiting when a stranger knocks.
 */
#ifndef RF_BENCH_PEER_H
#define RF_BENCH_PEER_H

#include <netinet/in.h>
#include <stdint.h>

#define PEER_TIMEOUT 10000 /* ms the peer may take for a step of the set-up */

struct peer {
	int fd;
	char local_host[INET6_ADDRSTRLEN], peer_host[INET6_ADDRSTRLEN];
};

/* All return 0, or -1 after a line on stderr. */

/* host NULL: all addresses; port 0: any, the one taken is in *port. */
int peer_listen(const char *host, uint16_t *port, int *fd);
/* kind: name of the program. Waits for ever. */
int peer_accept(int listen_fd, const char *kind, struct peer *p);
int peer_connect(const char *host, uint16_t port, const char *kind, struct peer *p);
void peer_close(struct peer *p);

#endif
