#!/bin/busybox sh
# The first program of a machine: loads its modules, shows the host's files, then takes commands from the shared folder for
# ever. N.sh is a command, N.out what it printed, N.rc how it ended.
b=/bin/busybox
# What goes wrong before it takes commands ends it.
set -e
trap '$b poweroff -f' EXIT
$b mkdir -p /proc /sys /dev /host
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in $($b cat /modules); do $b modprobe $module; done
files=trans=virtio,version=9p2000.L,msize=1048576
$b mount -t 9p -o $files,cache=loose,ro host /host
$b mount -t tmpfs run /host/run
for each in dev proc sys; do $b mount --rbind /$each /host/$each; done
$b mkdir /host/run/share
$b mount -t 9p -o $files share /host/run/share
$b ip link set lo up
cd /host/run/share
$b echo the machine is up
n=0
while :; do
    while ! [ -e $n.sh ]; do $b usleep 20000; done
    code=0
    $b chroot /host /bin/sh /run/share/$n.sh >$n.out 2>&1 || code=$?
    $b echo $code >$n.part
    $b mv $n.part $n.rc
    n=$((n + 1))
done
