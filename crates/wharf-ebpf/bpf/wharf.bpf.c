/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* One object, so that all programs see the same maps. */
#include "connect.bpf.c"
#include "datagram.bpf.c"
#include "steer.bpf.c"
#include "guard.bpf.c"

/* Nothing here is of the helpers that the kernel keeps for GPL programs. */
char LICENSE[] SEC("license") = "Apache-2.0 OR MIT";
