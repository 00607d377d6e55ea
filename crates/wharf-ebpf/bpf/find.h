/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Which target serves a destination, and whether this client is led there by us. */
#ifndef WHARF_FIND_H
#define WHARF_FIND_H

#include "busy.h"
#include "user.h"

/* What a program asked for. */
struct asked {
	struct address address;
	struct address source;	/* what its socket is bound to */
	__be16 port;
	__u8 proto;
	bool by_v6;		/* the socket is of IPv6, whatever the address */
};

static __always_inline struct target *target_at(const struct address *address,
						const struct asked *asked)
{
	struct spot_prefix key = {
		.length = WHOLE_SPOT,
		.spot = { *address, SCOPE_ADDRESS, asked->proto, asked->port },
	};
	__u32 *slot = bpf_map_lookup_elem(&published, &key);

	return slot ? bpf_map_lookup_elem(&targets, slot) : NULL;
}

static __always_inline struct bpf_sock *listener(struct bpf_sock_addr *ctx,
						 const struct asked *asked)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size;

	if (is_v4(&asked->address)) {
		tuple.ipv4.daddr = asked->address.word[3];
		tuple.ipv4.dport = asked->port;
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.daddr, &asked->address, sizeof(asked->address));
		tuple.ipv6.dport = asked->port;
		size = sizeof(tuple.ipv6);
	}
	if (asked->proto == IPPROTO_TCP)
		return bpf_sk_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	return bpf_sk_lookup_udp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
}

/*
 * Whether a program of the host has this very address, and not only the port: its socket would get
 * the traffic before one that is bound to every address.
 */
static __always_inline bool is_taken(struct bpf_sock_addr *ctx, const struct asked *asked)
{
	struct bpf_sock *sk = listener(ctx, asked);
	struct address at, v4, v6;
	bool taken;

	if (!sk)
		return false;
	v4 = source_v4(sk);
	v6 = source_v6(sk);
	at = is_v4(&asked->address) ? v4 : v6;
	taken = !is_wildcard(&at) && !is_of_relay(sk->mark);
	bpf_sk_release(sk);
	return taken;
}

/* The address that the rules on who may connect would see. */
static __always_inline struct address client_of(const struct asked *asked)
{
	struct address loopback = asked->address;

	if (!is_wildcard(&asked->source))
		return asked->source;
	if (is_v4(&loopback) && is_loopback(&loopback))
		loopback.word[3] = LOOPBACK4;
	return loopback;
}

static __always_inline bool is_allowed(const struct target *target, const struct asked *asked)
{
	struct allowed_prefix key = {
		.length = WHOLE_ALLOWED,
		.list = bpf_htonl(target->list),
		.address = client_of(asked),
	};

	return !target->list || bpf_map_lookup_elem(&allowed, &key);
}

/* Whether the target may see the source that this socket would have. */
static __always_inline bool source_fits(const struct target *target, const struct asked *asked)
{
	if (is_wildcard(&asked->source))
		return true;
	/* 127.0.0.1 cannot leave, and the others would show where the gateway is promised. */
	return !is_loopback(&asked->source) && (target->flags & TARGET_KEEPS_HOST);
}

/* Whether the target is to see the host address that was asked for. */
static __always_inline bool wants_source(const struct target *target, const struct asked *asked)
{
	return (target->flags & TARGET_KEEPS_HOST) && is_wildcard(&asked->source) &&
	       !is_loopback(&asked->address);
}

static __always_inline struct target *find(struct bpf_sock_addr *ctx, const struct asked *asked)
{
	struct address wildcard = wildcard_of(&asked->address);
	struct target *target;

	/* Neither side could answer the other from an address that is good on one link only. */
	if (is_link_local(&asked->address))
		return NULL;
	/* Not even what is published on one address: it may have moved to another machine. */
	if (!is_of_host(&asked->address))
		return NULL;
	target = target_at(&asked->address, asked);
	if (!target) {
		target = target_at(&wildcard, asked);
		if (!target || is_taken(ctx, asked))
			return NULL;
	}
	/* A port of a steered range that the kernel has given to a program is that program's. */
	if (is_busy_around(&asked->address, SCOPE_RECEIVING, asked->proto, asked->port))
		return NULL;
	if (!source_fits(target, asked) || !is_allowed(target, asked))
		return NULL;
	return target;
}

static __always_inline __be16 port_of(const struct target *target, __be16 port)
{
	return bpf_htons(target->first_target + (bpf_ntohs(port) - target->first_host));
}

#endif
