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

static __always_inline struct address source_v6(struct bpf_sock *sk)
{
	struct address address = { { sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2],
				     sk->src_ip6[3] } };

	return address;
}

#endif
