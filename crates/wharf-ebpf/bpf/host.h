/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Whose socket it is, and which addresses are the host's. */
#ifndef WHARF_HOST_H
#define WHARF_HOST_H

#include <linux/in.h>
#include <linux/in6.h>

#include "address.h"
#include "maps.h"

#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define TCP_ESTABLISHED 1

/* The namespace this plane is for; set when it is loaded. */
volatile const __u64 netns_cookie = 0;
/* Sockets with this pattern in their mark are the relay's. */
volatile const __u32 relay_mark = 0;
volatile const __u32 relay_mask = 0;

/* Whether the kernel has multipath TCP; the helper below is unknown to one that has not. */
volatile const __u32 has_mptcp = 0;

static __always_inline bool is_of_relay(__u32 mark)
{
	return (mark & relay_mask) == relay_mark;
}

static __always_inline bool is_tcp(__u32 type, __u32 protocol)
{
	return type == SOCK_STREAM && protocol == IPPROTO_TCP;
}

/*
 * Such a connection is made by a socket that the program does not know of, so that getpeername(2),
 * which it asks of another, could not be answered as it should.
 */
static __always_inline bool is_part_of_mptcp(struct bpf_sock *sk)
{
	return has_mptcp && bpf_skc_to_mptcp_sock(sk);
}

static __always_inline bool is_udp(__u32 type, __u32 protocol)
{
	return type == SOCK_DGRAM && protocol == IPPROTO_UDP;
}

static __always_inline bool is_of_host(const struct address *a)
{
	return is_loopback(a) || bpf_map_lookup_elem(&local, a);
}

#endif
