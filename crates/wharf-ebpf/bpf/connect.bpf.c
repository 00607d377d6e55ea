/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * TCP: connect(2) to a published port is led to the target, and getpeername(2) tells what was asked
 * for. The socket is remembered until it is closed or connects to something else.
 */
#include "find.h"
#include "busy.h"
#include "user.h"

static __always_inline void count(__u32 number, __u64 open, __u64 connections)
{
	struct account *account = bpf_map_lookup_elem(&accounts, &number);

	if (!account)
		return;
	__sync_fetch_and_add(&account->open, open);
	__sync_fetch_and_add(&account->connections, connections);
}

static __always_inline void forget(__u64 cookie)
{
	struct rewritten *old = bpf_map_lookup_elem(&sockets, &cookie);
	__u32 account;

	if (!old)
		return;
	account = old->account;
	if (!bpf_map_delete_elem(&sockets, &cookie))
		count(account, -1, 0);
}

static __always_inline bool remember(__u64 cookie, const struct rewritten *entry)
{
	forget(cookie);
	if (bpf_map_update_elem(&sockets, &cookie, entry, BPF_ANY)) {
		overflowed(OVERFLOW_SOCKETS);
		return false;
	}
	count(entry->account, 1, 0);
	return true;
}

/* Gives the socket a source address; the port is still the kernel's to choose. */
static __always_inline bool bind_to(struct bpf_sock_addr *ctx, const struct asked *asked,
				    const struct address *source)
{
	if (asked->by_v6) {
		struct sockaddr_in6 to = { .sin6_family = AF_INET6 };

		__builtin_memcpy(&to.sin6_addr, source, sizeof(*source));
		return !bpf_bind(ctx, (struct sockaddr *)&to, sizeof(to));
	} else {
		struct sockaddr_in to = { .sin_family = AF_INET };

		to.sin_addr.s_addr = source->word[3];
		return !bpf_bind(ctx, (struct sockaddr *)&to, sizeof(to));
	}
}

/* Leads the socket to a target if it asks for one; `to` and `port` become the target's. */
static __always_inline bool lead(struct bpf_sock_addr *ctx, __u64 cookie, struct asked *asked,
				 struct address *to, __be16 *port)
{
	struct target *target = find(ctx, asked);
	struct rewritten entry = {};

	if (!target)
		return false;
	entry.asked = asked->address;
	entry.target = target->address;
	entry.asked_port = asked->port;
	entry.target_port = port_of(target, asked->port);
	entry.account = target->account;
	if (wants_source(target, asked))
		entry.flags = REWRITTEN_BOUND;
	if (!remember(cookie, &entry))
		return false;
	if (entry.flags & REWRITTEN_BOUND && !bind_to(ctx, asked, &asked->address)) {
		/* It has a port of its own choice (EINVAL), or the address has just gone. */
		forget(cookie);
		return false;
	}
	count(entry.account, 0, 1);
	*to = entry.target;
	*port = entry.target_port;
	return true;
}

/*
 * A socket whose connection failed may be used again. What it asked for before is of no concern
 * then, nor is the source that we gave it.
 */
static __always_inline void start_over(struct bpf_sock_addr *ctx, __u64 cookie, struct asked *asked,
				       const struct address *to)
{
	struct rewritten *old = bpf_map_lookup_elem(&sockets, &cookie);
	struct address wildcard;

	/* Another plane, of a release that is about to go, may have led it there just now. */
	if (!old || (is_same(&old->target, to) && old->target_port == asked->port))
		return;
	if (old->flags & REWRITTEN_BOUND) {
		wildcard = wildcard_of(&old->asked);
		if (bind_to(ctx, asked, &wildcard))
			asked->source = wildcard;
	}
	forget(cookie);
}

static __always_inline bool connects(struct bpf_sock_addr *ctx, bool by_v6, struct address *to,
				     __be16 *port)
{
	struct bpf_sock *sk = ctx->sk;
	struct asked asked = { .address = *to, .port = *port, .proto = IPPROTO_TCP, .by_v6 = by_v6 };
	__u64 cookie = bpf_get_socket_cookie(ctx);

	if (!sk || bpf_get_netns_cookie(ctx) != netns_cookie)
		return false;
	/*
	 * A connected UDP socket could not be led elsewhere later, as the other planes can; it is
	 * theirs. It gets no datagrams but its peer's from now on.
	 */
	if (is_udp(ctx->type, ctx->protocol))
		unmark(cookie, MARK_RECEIVING);
	if (!is_tcp(ctx->type, ctx->protocol))
		return false;
	asked.source = source_of(sk);
	settle(&asked.address);
	start_over(ctx, cookie, &asked, to);
	/* Who binds to a device wants to leave by it, and not to reach a bridge. */
	if (sk->bound_dev_if || is_of_relay(sk->mark) || is_part_of_mptcp(sk))
		return false;
	return lead(ctx, cookie, &asked, to, port);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct address to = from_v4(ctx->user_ip4);
	__be16 port = ctx->user_port;

	if (connects(ctx, false, &to, &port)) {
		ctx->user_ip4 = to.word[3];
		ctx->user_port = port;
	}
	return 1;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct address to = user_v6(ctx);
	__be16 port = ctx->user_port;

	if (connects(ctx, true, &to, &port)) {
		set_user_v6(ctx, &to);
		ctx->user_port = port;
	}
	return 1;
}

/* What the socket asked for, if `to` is where it was led. */
static __always_inline struct rewritten *led(struct bpf_sock_addr *ctx, const struct address *to)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct rewritten *entry = bpf_map_lookup_elem(&sockets, &cookie);

	if (!entry || !is_same(&entry->target, to) || entry->target_port != (__be16)ctx->user_port)
		return NULL;
	return entry;
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct address peer = from_v4(ctx->user_ip4);
	struct rewritten *entry = led(ctx, &peer);

	if (entry) {
		ctx->user_ip4 = entry->asked.word[3];
		ctx->user_port = entry->asked_port;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	struct address peer = user_v6(ctx);
	struct rewritten *entry = led(ctx, &peer);

	if (entry) {
		set_user_v6(ctx, &entry->asked);
		ctx->user_port = entry->asked_port;
	}
	return 1;
}

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);

	forget(cookie);
	unmark(cookie, MARK_BOUND | MARK_RECEIVING);
	return 1;
}
