#!/bin/sh
# Installs the Debian packages that a build or a test of Sluice needs and this machine lacks.
# The list is the one in README.md, "Libraries". Root or passwordless sudo; else it says what to type.
set -eu
packages="gcc g++ make pkg-config libzmq3-dev liblmdb-dev libmsgpack-dev libyaml-dev libcurl4-openssl-dev
libjansson-dev libpcre2-dev libutf8proc-dev libzstd-dev zlib1g-dev libxxhash-dev libsodium-dev
libopenblas-dev libmpfr-dev libgmp-dev libcmocka-dev libmicrohttpd-dev zstd $*"
missing=
for p in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then as=
elif sudo -n true 2>/dev/null; then as="sudo -n"
else
    echo "setup: these Debian packages are missing; as root, run: apt-get install$missing" >&2
    exit 1
fi
echo "setup: installing$missing"
export DEBIAN_FRONTEND=noninteractive
$as apt-get update -q >/dev/null 2>&1 || true
# shellcheck disable=SC2086
$as apt-get install -y -q --no-install-recommends $missing >/tmp/sluice-setup.$$ 2>&1 || {
    tail -5 /tmp/sluice-setup.$$ >&2; exit 1; }
rm -f /tmp/sluice-setup.$$
