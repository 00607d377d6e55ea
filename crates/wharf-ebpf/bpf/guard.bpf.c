/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The ports of a steered range have no sockets of their own, so nothing would keep another program
 * from binding one. These hooks do, and notice who is given one without asking for it.
 */
#include <linux/errno.h>

#include "busy.h"
#include "user.h"

static __always_inline bool overlaps_steered(const struct address *address, __u8 proto, __be16 port)
{
	struct address wildcard = wildcard_of(address), v4 = from_v4(0);

	if (is_wildcard(address))
		return is_covered(address, proto, port) ||
		       (!is_v4(address) && is_covered(&v4, proto, port));
	if (is_steered(address, SCOPE_ADDRESS, proto, port))
		return true;
	/* An address that is not the host's is refused as such (EADDRNOTAVAIL), if at all. */
	return is_steered(&wildcard, SCOPE_ADDRESS, proto, port) &&
	       (is_of_host(address) || is_for_many(address));
}

static __always_inline bool is_refused(struct bpf_sock_addr *ctx, const struct address *address)
{
	__be16 port = ctx->user_port;
	__u8 proto = ctx->protocol;
	struct bpf_sock *sk = ctx->sk;

	if (!sk || !(is_tcp(ctx->type, proto) || is_udp(ctx->type, proto)) ||
	    bpf_get_netns_cookie(ctx) != netns_cookie)
		return false;
	if (is_of_relay(sk->mark)) {
		if (port && overlaps_steered(address, proto, port))
			mark_of_relay(bpf_get_socket_cookie(ctx));
		return false;
	}
	/* A socket that is bound already is refused as such (EINVAL). */
	if (!port || sk->src_port)
		return false;
	/* Where a real socket is, the kernel knows best who may share with it. */
	return overlaps_steered(address, proto, port) &&
	       !is_busy_around(address, SCOPE_BOUND, proto, port);
}

static __always_inline int answer(bool refused)
{
	if (!refused)
		return 1;
	bpf_set_retval(-EADDRINUSE);
	return 0;
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	struct address address = from_v4(ctx->user_ip4);

	return answer(is_refused(ctx, &address));
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	struct address address = user_v6(ctx);

	return answer(is_refused(ctx, &address));
}

/* TCP gets nothing before it listens; UDP gets everything at once. */
static __always_inline int has_bound(struct bpf_sock *sk, const struct address *address)
{
	__u32 marks = is_udp(sk->type, sk->protocol) ? MARK_BOUND | MARK_RECEIVING : MARK_BOUND;

	if (!(is_tcp(sk->type, sk->protocol) || is_udp(sk->type, sk->protocol)) ||
	    bpf_get_netns_cookie(sk) != netns_cookie)
		return 1;
	mark_covered(bpf_get_socket_cookie(sk), address, sk->protocol, sk->src_port, marks);
	return 1;
}

SEC("cgroup/post_bind4")
int post_bind4(struct bpf_sock *sk)
{
	struct address address = source_v4(sk);

	return has_bound(sk, &address);
}

SEC("cgroup/post_bind6")
int post_bind6(struct bpf_sock *sk)
{
	struct address address = source_v6(sk);

	return has_bound(sk, &address);
}

/* listen(2), also without bind(2): the kernel chooses the port then. */
SEC("sockops")
int listens(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk;
	struct address own;

	if (ctx->op != BPF_SOCK_OPS_TCP_LISTEN_CB)
		return 1;
	sk = ctx->sk;
	if (!sk || bpf_get_netns_cookie(ctx) != netns_cookie || is_of_relay(sk->mark))
		return 1;
	own = source_of(sk);
	mark_covered(bpf_get_socket_cookie(ctx), &own, IPPROTO_TCP, sk->src_port,
		     MARK_BOUND | MARK_RECEIVING);
	return 1;
}
