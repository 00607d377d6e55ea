/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Keys and values of the maps, as both sides see them; src/layout.rs is the other side.
 *
 * An address is always sixteen bytes in network order, IPv4 as ::ffff:a.b.c.d. The wildcards of the
 * two families are therefore two different addresses, and nothing else needs to know the family.
 */
#ifndef WHARF_TYPES_H
#define WHARF_TYPES_H

#include <linux/bpf.h>
#include <linux/types.h>

#define ID_LENGTH 64

struct address {
	__u32 word[4];
};

/* What a port can be asked about. */
enum scope {
	SCOPE_ADDRESS = 0,	/* at this very address */
	SCOPE_ANY = 1,		/* at any address of the family; the address is its wildcard */
	SCOPE_BOUND = 2,	/* busy: a socket of others is bound there */
	SCOPE_RECEIVING = 3,	/* busy: a socket of others gets what comes in there */
};

/* An address and a port. */
struct spot {
	struct address address;
	__u8 scope;
	__u8 proto;
	__be16 port;
};

/* The same with the length of a prefix: as its last bits are a port, a range is a few of them. */
struct spot_prefix {
	__u32 length;
	struct spot spot;
};

#define WHOLE_SPOT (8 * sizeof(struct spot))

/* Where traffic to some host ports goes. */
struct target {
	struct address address;
	__u32 account;		/* the publication's, in `accounts` */
	__u32 list;		/* who may, in `allowed`; 0: everyone */
	__u16 first_host;	/* the first host port, and */
	__u16 first_target;	/* the target port it leads to; both in host order */
	__u32 flags;
};

#define TARGET_KEEPS_HOST 1	/* the target is to see the host address that was asked for */

struct allowed_prefix {
	__u32 length;
	__u32 list;		/* in network order, as it is the first part of a prefix */
	struct address address;
};

#define WHOLE_ALLOWED (8 * (sizeof(__u32) + sizeof(struct address)))

/* What one publication has counted, and its name. */
struct account {
	__u64 connections;
	__u64 open;
	__u64 datagrams;
	char id[ID_LENGTH];
};

/* A socket that was led to a target. */
struct rewritten {
	struct address asked;
	struct address target;
	__be16 asked_port;
	__be16 target_port;
	__u32 account;
	__u32 flags;
};

#define REWRITTEN_BOUND 1	/* its source address is our choice, not the program's */

/* Where an answer comes from, and where it is to seem to come from. */
struct answer_key {
	__u64 cookie;
	struct address target;
	__be16 target_port;
	__u16 zero[3];
};

struct answer {
	struct address asked;
	__be16 asked_port;
	__u16 zero;
};

/* The sockets that serve a steered range. */
struct floor {
	__u32 count;
	char id[ID_LENGTH];
};

/* A socket of others inside a steered range, and how it was counted in `busy`. */
struct bound {
	struct spot spot;
	__u32 marks;
};

#define MARK_BOUND 1
#define MARK_RECEIVING 2
#define MARK_DUAL 4		/* both families: it is bound to the wildcard address of IPv6 */
#define MARK_OF_RELAY 8		/* not one of others: never counted */

/* What did not fit, in `overflow`. */
enum overflow {
	OVERFLOW_SOCKETS,
	OVERFLOW_BUSY,
	OVERFLOW_KINDS,
};

#endif
