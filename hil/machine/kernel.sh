#!/usr/bin/env bash
# Takes the distribution's newest kernel from its packages into this folder: vmlinuz, lib/modules/VERSION. Nothing is
# installed. Debian names its kernel by processor, Ubuntu `generic`, with modules in packages of their own; both may pack
# the modules.
set -euo pipefail
name=linux-image-amd64
apt-cache show "$name" >/dev/null 2>&1 || name=linux-image-generic
packages=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances "$name" | grep -E '^linux-(image|modules)(-extra)?-[0-9]' | sort -u)
mkdir packages all lib
(cd packages && apt-get download -qq $packages)
for package in packages/*.deb; do dpkg -x "$package" all; done
mv all/boot/vmlinuz-* vmlinuz
if [ -d all/usr/lib/modules ]; then mv all/usr/lib/modules lib/; else mv all/lib/modules lib/; fi
rm -r packages all
find lib -name '*.ko.xz' -exec xz -d {} +
find lib -name '*.ko.zst' -exec zstd -q -d --rm {} +
busybox depmod -b . "$(ls lib/modules)"
