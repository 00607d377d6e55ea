#!/bin/busybox sh
# Makes a machine of the initial file system and hands over to busybox's init, which reaps what
# tests leave behind.
export PATH=/usr/sbin:/usr/bin
# The kernel lets nobody change the root of its initial file system (pivot_root); a second mount of
# the same is a root like any other.
mount --bind / /mnt
cd /mnt
mount --move . /
exec chroot . /bin/sh -c '
    mount -t devtmpfs none /dev
    exec </dev/console >/dev/console 2>&1
    mkdir -p /dev/pts /dev/shm
    mount -t devpts none /dev/pts
    mount -t proc none /proc
    mount -t sysfs none /sys
    mount -t cgroup2 none /sys/fs/cgroup
    mount -t bpf none /sys/fs/bpf
    mount -t securityfs none /sys/kernel/security
    mount -t tmpfs none /dev/shm
    chmod 1777 /dev/shm /tmp
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo +$controller >/sys/fs/cgroup/cgroup.subtree_control
    done
    hostname guest
    ip link set lo up
    ulimit -n 1048576
    exec /bin/busybox init
'
