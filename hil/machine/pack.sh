#!/usr/bin/env bash
# pack.sh KERNEL MODULE...: prints the files that a machine begins with (an archive of cpio): init, busybox, these modules
# and what they need. Works in this folder, which is empty.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kernel=$1
shift
version=$(ls "$kernel/lib/modules")
modules=lib/modules/$version
# It is alone there: it must need no library.
if ldd "$(command -v busybox)" 2>/dev/null | grep -q '=>'; then
    echo "expected busybox without libraries (package busybox-static), found $(command -v busybox)" >&2
    exit 1
fi
mkdir -p bin "$modules"
cp "$(command -v busybox)" bin/busybox
cp "$here/init.sh" init
echo "$*" >modules
for module in "$@"; do
    # One that is part of the kernel itself needs nothing.
    grep -q "/$module\.ko" "$kernel/$modules/modules.builtin" && continue
    needed=$(grep "/$module\.ko:" "$kernel/$modules/modules.dep") || { echo "no module $module in kernel $version" >&2; exit 1; }
    for file in ${needed/:/}; do
        mkdir -p "$modules/$(dirname "$file")"
        cp "$kernel/$modules/$file" "$modules/$file"
    done
done
busybox depmod -b . "$version"
find . | cpio -o -H newc --quiet
