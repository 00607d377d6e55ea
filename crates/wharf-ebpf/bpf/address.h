/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Addresses: what kind one is, and which the kernel would put in its place. */
#ifndef WHARF_ADDRESS_H
#define WHARF_ADDRESS_H

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "types.h"

#define MAPPED bpf_htonl(0x0000ffff)
#define LOOPBACK4 bpf_htonl(0x7f000001)

static __always_inline struct address from_v4(__u32 ip)
{
	struct address address = { { 0, 0, MAPPED, ip } };

	return address;
}

static __always_inline bool is_v4(const struct address *a)
{
	return !a->word[0] && !a->word[1] && a->word[2] == MAPPED;
}

static __always_inline bool is_same(const struct address *a, const struct address *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
	       a->word[3] == b->word[3];
}

/* Not bound to an address: the wildcard of either family. */
static __always_inline bool is_wildcard(const struct address *a)
{
	return !a->word[0] && !a->word[1] && (!a->word[2] || a->word[2] == MAPPED) && !a->word[3];
}

static __always_inline bool is_loopback(const struct address *a)
{
	if (is_v4(a))
		return (bpf_ntohl(a->word[3]) >> 24) == 127;
	return !a->word[0] && !a->word[1] && !a->word[2] && a->word[3] == bpf_htonl(1);
}

static __always_inline bool is_link_local(const struct address *a)
{
	return (a->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* Multicast in either family, and the IPv4 broadcast address. */
static __always_inline bool is_for_many(const struct address *a)
{
	if (is_v4(a))
		return (bpf_ntohl(a->word[3]) >> 28) >= 14;
	return (bpf_ntohl(a->word[0]) >> 24) == 0xff;
}

static __always_inline struct address wildcard_of(const struct address *a)
{
	struct address wildcard = { { 0, 0, is_v4(a) ? MAPPED : 0, 0 } };

	return wildcard;
}

/* Who connects to the wildcard address gets the loopback address (ip_route_output, tcp_v6_connect). */
static __always_inline void settle(struct address *to)
{
	if (is_wildcard(to))
		to->word[3] = is_v4(to) ? LOOPBACK4 : bpf_htonl(1);
}

#endif
