/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The maps. All but `answers` and the two arrays take memory only for what is in them, plus sixteen
 * bytes of hash table per entry they may hold; the caps are stated in src/layout.rs, with reasons.
 */
#ifndef WHARF_MAPS_H
#define WHARF_MAPS_H

#include <bpf/bpf_helpers.h>

#include "types.h"

#define FLOORS 256
#define FLOOR_WIDTH 16

/* Host ports to slots of `targets`. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct spot_prefix);
	__type(value, __u32);
} published SEC(".maps");

/* A value is replaced whole, so a publication moves from one target to another in one step. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct target);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct allowed_prefix);
	__type(value, __u32);
} allowed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct account);
} accounts SEC(".maps");

/* Rewritten sockets, by cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct rewritten);
} sockets SEC(".maps");

/* The kernel allocates least-recently-used tables whole: 0.5 MB. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct answer_key);
	__type(value, struct answer);
} answers SEC(".maps");

/* The host's own addresses, without the loopback ones. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, __u32);
} local SEC(".maps");

/* Steered host ports to slots of `floors`; each range twice, by its address and by any. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct spot_prefix);
	__type(value, __u32);
} steered SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOORS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct floor);
} floors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, FLOORS * FLOOR_WIDTH);
	__type(key, __u32);
	__type(value, __u32);
} floor_sockets SEC(".maps");

/*
 * Sockets of others per port of a steered range. Entries stay when their count falls to nothing:
 * deleting one while another processor counts it up would lose that socket.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct spot);
	__type(value, __u32);
} busy SEC(".maps");

/* Which entries of `busy` a socket is counted in, by cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct bound);
} bound SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OVERFLOW_KINDS);
	__type(key, __u32);
	__type(value, __u64);
} overflow SEC(".maps");

static __always_inline void overflowed(__u32 kind)
{
	__u64 *count = bpf_map_lookup_elem(&overflow, &kind);

	if (count)
		__sync_fetch_and_add(count, 1);
}

#endif
