/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * One socket for every port of a range. Asked only where the kernel looks for a listener or for a
 * UDP socket without a peer; connections that exist are found before.
 */
#include "busy.h"
#include "user.h"

static __always_inline __u32 *floor_at(const struct address *address, __u8 proto, __be16 port)
{
	struct spot_prefix key = {
		.length = WHOLE_SPOT,
		.spot = { *address, SCOPE_ADDRESS, proto, port },
	};

	return bpf_map_lookup_elem(&steered, &key);
}

/* Spreads clients over the sockets of a floor; a client stays where it is. */
static __always_inline __u32 spread(struct bpf_sk_lookup *ctx)
{
	__u32 mixed = ctx->remote_ip4 ^ ctx->remote_ip6[1] ^ ctx->remote_ip6[3] ^ ctx->remote_port;

	/* A multiplicative hash (Knuth): the high bits depend on all of the low ones. */
	return (mixed * 2654435761u) >> 16;
}

static __always_inline int hand_over(struct bpf_sk_lookup *ctx, __u32 slot)
{
	struct floor *floor = bpf_map_lookup_elem(&floors, &slot);
	struct bpf_sock *sk;
	__u32 index;

	if (!floor || !floor->count)
		return SK_PASS;
	index = slot * FLOOR_WIDTH + spread(ctx) % floor->count;
	sk = bpf_map_lookup_elem(&floor_sockets, &index);
	if (!sk)
		return SK_PASS;
	bpf_sk_assign(ctx, sk, BPF_SK_LOOKUP_F_NO_REUSEPORT);
	bpf_sk_release(sk);
	return SK_PASS;
}

SEC("sk_lookup")
int steer(struct bpf_sk_lookup *ctx)
{
	struct address at = { { ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2],
				ctx->local_ip6[3] } };
	__be16 port = bpf_htons(ctx->local_port);
	__u8 proto = ctx->protocol;
	struct address wildcard;
	__u32 *slot;

	if (ctx->family == AF_INET)
		at = from_v4(ctx->local_ip4);
	wildcard = wildcard_of(&at);
	slot = floor_at(&at, proto, port);
	if (!slot)
		slot = floor_at(&wildcard, proto, port);
	if (!slot || is_busy_around(&at, SCOPE_RECEIVING, proto, port))
		return SK_PASS;
	return hand_over(ctx, *slot);
}
