#!/bin/busybox sh
# The first program of a machine: loads its modules, shows the host's files, then takes commands from the shared folder for
# ever. N.sh is a command, N.out what it printed, N.rc how it ended.
b=/bin/busybox
$b mkdir -p /proc /sys /dev /host
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in $($b cat /modules); do $b modprobe $module; done
files=trans=virtio,version=9p2000.L,msize=1048576
$b mount -t 9p -o $files,cache=loose,ro host /host
$b mount -t tmpfs mnt /host/mnt
for each in dev proc sys; do $b mount --rbind /$each /host/$each; done
$b mkdir /host/mnt/share
$b mount -t 9p -o $files share /host/mnt/share
$b ip link set lo up
cd /host/mnt/share
$b echo the machine is up
n=0
while :; do
    while ! [ -e $n.sh ]; do $b usleep 20000; done
    $b chroot /host /bin/sh /mnt/share/$n.sh >$n.out 2>&1
    $b echo $? >$n.part
    $b mv $n.part $n.rc
    n=$((n + 1))
done
