/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The address a program handed in or is handed out; the kernel wants it word by word. */
#ifndef WHARF_USER_H
#define WHARF_USER_H

#include "host.h"

#define AF_INET 2
#define AF_INET6 10

static __always_inline struct address user_v6(struct bpf_sock_addr *ctx)
{
	struct address address = { { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
				     ctx->user_ip6[3] } };

	return address;
}

static __always_inline void set_user_v6(struct bpf_sock_addr *ctx, const struct address *address)
{
	ctx->user_ip6[0] = address->word[0];
	ctx->user_ip6[1] = address->word[1];
	ctx->user_ip6[2] = address->word[2];
	ctx->user_ip6[3] = address->word[3];
}

/*
 * The verifier wants each field of a socket read by its own offset; without `volatile` the compiler
 * would merge reads of two of them into one, from an offset that it works out. Both are read before
 * one is chosen, for the same reason.
 */
#define FIELD(field) (*(volatile __u32 *)&(field))

static __always_inline struct address source_v4(struct bpf_sock *sk)
{
	return from_v4(FIELD(sk->src_ip4));
}

static __always_inline struct address source_v6(struct bpf_sock *sk)
{
	struct address address = { { FIELD(sk->src_ip6[0]), FIELD(sk->src_ip6[1]),
				     FIELD(sk->src_ip6[2]), FIELD(sk->src_ip6[3]) } };

	return address;
}

/* What the socket is bound to. */
static __always_inline struct address source_of(struct bpf_sock *sk)
{
	struct address v4 = source_v4(sk), v6 = source_v6(sk);

	return sk->family == AF_INET6 ? v6 : v4;
}

#endif
