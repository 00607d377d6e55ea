/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Sockets of others inside a steered range: bound without a number and given one of ours, or there
 * before us. They keep what is theirs.
 */
#ifndef WHARF_BUSY_H
#define WHARF_BUSY_H

#include "host.h"

static __always_inline bool is_steered(const struct address *address, __u8 scope, __u8 proto,
				       __be16 port)
{
	struct spot_prefix key = {
		.length = WHOLE_SPOT,
		.spot = { *address, scope, proto, port },
	};

	return bpf_map_lookup_elem(&steered, &key);
}

/* Whether the port is steered at any address of the family. */
static __always_inline bool is_covered(const struct address *address, __u8 proto, __be16 port)
{
	struct address wildcard = wildcard_of(address);

	return is_steered(&wildcard, SCOPE_ANY, proto, port);
}

static __always_inline bool is_busy(const struct address *address, __u8 scope, __u8 proto,
				    __be16 port)
{
	struct spot key = { *address, scope, proto, port };
	__u32 *count = bpf_map_lookup_elem(&busy, &key);

	return count && *count;
}

/* Whether such a socket is at this address, or at every address. */
static __always_inline bool is_busy_around(const struct address *address, __u8 scope, __u8 proto,
					   __be16 port)
{
	struct address wildcard = wildcard_of(address);

	return is_busy(address, scope, proto, port) || is_busy(&wildcard, scope, proto, port);
}

/* A try is lost to another processor that counts here at the same moment; not so many are in a row. */
#define TRIES 16

/* Takes one off a count, unless there is nothing to be taken off: it would be a count for ever. */
static __always_inline void count_down(const struct spot *spot)
{
	__u32 *count = bpf_map_lookup_elem(&busy, spot);
	__u32 old;
	int i;

	if (!count)
		return;
	for (i = 0; i < TRIES; i++) {
		old = *(volatile __u32 *)count;
		if (!old || __sync_val_compare_and_swap(count, old, old - 1) == old)
			return;
	}
	__sync_fetch_and_add(count, -1);
}

static __always_inline void count_up(const struct spot *spot)
{
	__u32 *count = bpf_map_lookup_elem(&busy, spot);
	__u32 none = 0;

	if (!count) {
		bpf_map_update_elem(&busy, spot, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&busy, spot);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		overflowed(OVERFLOW_BUSY);
}

static __always_inline void count_at(const struct spot *spot, bool up)
{
	if (up)
		count_up(spot);
	else
		count_down(spot);
}

static __always_inline void count_busy(const struct bound *socket, __u8 scope, bool up)
{
	struct spot spot = socket->spot;

	spot.scope = scope;
	count_at(&spot, up);
	if (socket->marks & MARK_DUAL) {
		spot.address = from_v4(0);
		count_at(&spot, up);
	}
}

static __always_inline void count_marks(const struct bound *socket, __u32 marks, bool up)
{
	if (marks & MARK_BOUND)
		count_busy(socket, SCOPE_BOUND, up);
	if (marks & MARK_RECEIVING)
		count_busy(socket, SCOPE_RECEIVING, up);
}

/* Takes marks off a socket; who calls holds its lock, or it is being closed. */
static __always_inline void unmark(__u64 cookie, __u32 marks)
{
	struct bound *found = bpf_map_lookup_elem(&bound, &cookie);
	struct bound socket;

	if (!found)
		return;
	socket = *found;
	marks &= socket.marks;
	if (!(socket.marks & ~marks & (MARK_BOUND | MARK_RECEIVING))) {
		if (bpf_map_delete_elem(&bound, &cookie))
			return;
	} else {
		found->marks &= ~marks;
	}
	count_marks(&socket, marks, false);
}

/* Marks a socket as being at a spot; who calls holds its lock. */
static __always_inline void mark(__u64 cookie, const struct spot *spot, __u32 marks)
{
	struct bound *found = bpf_map_lookup_elem(&bound, &cookie);
	struct bound socket = { *spot, marks };

	if (found && found->marks & MARK_OF_RELAY)
		return;
	if (found && (found->spot.port != spot->port ||
		      !is_same(&found->spot.address, &spot->address))) {
		unmark(cookie, MARK_BOUND | MARK_RECEIVING);
		found = NULL;
	}
	if (found) {
		marks &= ~found->marks;
		found->marks |= marks;
	} else if (bpf_map_update_elem(&bound, &cookie, &socket, BPF_NOEXIST)) {
		overflowed(OVERFLOW_BUSY);
		return;
	}
	count_marks(&socket, marks, true);
}

/* Hooks that run once a socket is bound cannot read its mark, so it is noted before. */
static __always_inline void mark_of_relay(__u64 cookie)
{
	struct bound socket = { .marks = MARK_OF_RELAY };

	if (bpf_map_update_elem(&bound, &cookie, &socket, BPF_ANY))
		overflowed(OVERFLOW_BUSY);
}

/*
 * Marks a socket that is at a covered port. Whether one at the wildcard address of IPv6 also gets
 * IPv4 (IPV6_V6ONLY) cannot be read from here; it is taken to, and so keeps what it may have.
 */
static __always_inline void mark_covered(__u64 cookie, const struct address *address, __u8 proto,
					 __u32 host_port, __u32 marks)
{
	struct spot spot = { *address, 0, proto, bpf_htons(host_port) };
	struct address v4 = from_v4(0);
	bool dual = is_wildcard(address) && !is_v4(address);

	/* A socket at an address of somebody else's, as the relay has, is at no port of this host. */
	if (!is_wildcard(address) && !is_steered(address, SCOPE_ADDRESS, proto, spot.port) &&
	    !is_of_host(address) && !is_for_many(address))
		return;
	if (!host_port || !(is_covered(address, proto, spot.port) ||
			    (dual && is_covered(&v4, proto, spot.port))))
		return;
	mark(cookie, &spot, dual ? marks | MARK_DUAL : marks);
}

#endif
