#!/usr/bin/env bash
# A Swift compiler for Linux, where there is none: a small Debian of its own with the packages of Swift 6,
# in an ordinary cache folder (about 3 GB, two to three minutes). It needs root and Debian's package tool.
set -euo pipefail
root=${SWIFT_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/training-with-pytorch/swift}
suite=${SWIFT_SUITE:-trixie}
command -v swiftc >/dev/null && [ -z "${SWIFT_ROOT:-}" ] && { echo "swiftc is on the PATH: $(command -v swiftc)"; exit 0; }
[ -x "$root/usr/bin/swiftc" ] && { echo "The compiler is in $root"; exit 0; }
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "This installs Swift on Debian, as root. Elsewhere install Swift 6 (Xcode on a Mac brings it) so that" \
    "\`swiftc\` is on the PATH." >&2
  exit 1
fi
command -v debootstrap >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends debootstrap >/dev/null; }

# The mirror that this machine's own packages come from; without one, debootstrap's.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' 'Origin: Debian' |
  grep -v security | head -n 1)
rm -rf --one-file-system "$root.part" && mkdir -p "$root.part"
debootstrap --variant=minbase "$suite" "$root.part" $mirror >"$root.log" 2>&1
# The machine's way to the network, then the compiler. Its help texts are left out.
cp /etc/resolv.conf "$root.part/etc/" && apt-config dump | grep -i '^Acquire::.*proxy' >"$root.part/etc/apt/apt.conf.d/90proxy" || true
printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\n' >"$root.part/etc/dpkg/dpkg.cfg.d/small"
chroot "$root.part" env DEBIAN_FRONTEND=noninteractive sh -c \
  'apt-get update -qq && apt-get install -y -qq --no-install-recommends swiftlang swiftlang-dev libc6-dev libstdc++-14-dev && apt-get clean' \
  >>"$root.log" 2>&1 || { tail -n 5 "$root.log" >&2; exit 1; }
mv "$root.part" "$root"
echo "The compiler is in $root"
