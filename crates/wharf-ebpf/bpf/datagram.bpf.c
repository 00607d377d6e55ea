/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * UDP without a connection: each datagram to a published port is sent to the target, and what the
 * target answers seems to come from where the datagram was sent.
 */
#include "find.h"
#include "busy.h"
#include "user.h"

/* The kernel gives a socket that only ever sends its port without asking bind hooks. */
static __always_inline void note_port(struct bpf_sock_addr *ctx, struct bpf_sock *sk)
{
	struct address own = source_of(sk);

	/* A connected one gets datagrams of its peer alone, by a lookup that comes before ours. */
	if (sk->state == TCP_ESTABLISHED)
		return;
	mark_covered(bpf_get_socket_cookie(ctx), &own, IPPROTO_UDP, sk->src_port,
		     MARK_BOUND | MARK_RECEIVING);
}

static __always_inline void expect_answer(__u64 cookie, const struct asked *asked,
					  const struct address *target, __be16 port)
{
	struct answer_key key = { .cookie = cookie, .target = *target, .target_port = port };
	struct answer answer = { .asked = asked->address, .asked_port = asked->port };
	struct answer *old = bpf_map_lookup_elem(&answers, &key);

	if (old && is_same(&old->asked, &answer.asked) && old->asked_port == answer.asked_port)
		return;
	bpf_map_update_elem(&answers, &key, &answer, BPF_ANY);
}

static __always_inline void count_datagram(__u32 number)
{
	struct account *account = bpf_map_lookup_elem(&accounts, &number);

	if (account)
		__sync_fetch_and_add(&account->datagrams, 1);
}

/* `source` becomes what the datagram is to be sent from, if that is not the kernel's choice. */
static __always_inline bool sends(struct bpf_sock_addr *ctx, struct address *to, __be16 *port,
				  struct address *source)
{
	struct asked asked = {
		.address = *to, .source = *source, .port = *port, .proto = IPPROTO_UDP,
	};
	struct bpf_sock *sk = ctx->sk;
	struct target *target;

	if (!sk || !is_udp(ctx->type, ctx->protocol) || bpf_get_netns_cookie(ctx) != netns_cookie ||
	    is_of_relay(sk->mark))
		return false;
	note_port(ctx, sk);
	settle(&asked.address);
	/* A connected socket that names its destination all the same takes its peer's answers only. */
	if (sk->bound_dev_if || sk->state == TCP_ESTABLISHED)
		return false;
	target = find(ctx, &asked);
	if (!target)
		return false;
	*to = target->address;
	*port = port_of(target, asked.port);
	if (wants_source(target, &asked))
		*source = asked.address;
	count_datagram(target->account);
	expect_answer(bpf_get_socket_cookie(ctx), &asked, to, *port);
	return true;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct address to = from_v4(ctx->user_ip4), source = from_v4(ctx->msg_src_ip4);
	__be16 port = ctx->user_port;

	if (sends(ctx, &to, &port, &source)) {
		ctx->user_ip4 = to.word[3];
		ctx->user_port = port;
		ctx->msg_src_ip4 = source.word[3];
	}
	return 1;
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct address source = { { ctx->msg_src_ip6[0], ctx->msg_src_ip6[1], ctx->msg_src_ip6[2],
				    ctx->msg_src_ip6[3] } };
	struct address to = user_v6(ctx);
	__be16 port = ctx->user_port;

	if (sends(ctx, &to, &port, &source)) {
		set_user_v6(ctx, &to);
		ctx->user_port = port;
		ctx->msg_src_ip6[0] = source.word[0];
		ctx->msg_src_ip6[1] = source.word[1];
		ctx->msg_src_ip6[2] = source.word[2];
		ctx->msg_src_ip6[3] = source.word[3];
	}
	return 1;
}

static __always_inline struct answer *expected(struct bpf_sock_addr *ctx, const struct address *from)
{
	struct answer_key key = {
		.cookie = bpf_get_socket_cookie(ctx),
		.target = *from,
		.target_port = ctx->user_port,
	};

	return bpf_map_lookup_elem(&answers, &key);
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	struct address from = from_v4(ctx->user_ip4);
	struct answer *answer = expected(ctx, &from);

	if (answer) {
		ctx->user_ip4 = answer->asked.word[3];
		ctx->user_port = answer->asked_port;
	}
	return 1;
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	struct address from = user_v6(ctx);
	struct answer *answer = expected(ctx, &from);

	if (answer) {
		set_user_v6(ctx, &answer->asked);
		ctx->user_port = answer->asked_port;
	}
	return 1;
}
