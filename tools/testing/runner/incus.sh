#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# incus.sh: holds bpftoken's spelling of Incus's options against a real Incus, that of trixie's backports: in a guest, it
# takes each option that "bpftoken check --format incus" prints, and a program in the container loads the object with them,
# and does not without one of them. Incus is installed into a layer over the toolchain root, which is kept.

. "$(dirname "$0")/common.sh"
x86_64_only incus.sh
need_root incus.sh
"$RUNNER/toolchain.sh"
IMAGE=$("$RUNNER/kernel.sh" rust | tail -n 1)
step "building bpftoken" "$LOGS/bpftoken-build.log" "$RUNNER/cargo.sh" build --locked --release -p bpftoken -p bpftoken-tests
lock incus
layer=$BUILD/incus
if ! diff -q "$ROOT/.made-from" "$layer/made-from" >/dev/null 2>&1; then
	rm -rf --one-file-system "$layer"
fi
mkdir -p "$layer"/{upper,work,share}
# The build script of the tests compiles it.
object=$(find "$BUILD/target/release/build" -path '*/bpftoken-tests-*/out/profile_xdp.bpf.o' -printf '%T@ %p\n' | sort -n | tail -n 1)
cp "${object#* }" "$layer/share/xdp.bpf.o"

# The mounts are in the namespace that this script has to itself.
mount -t overlay overlay -o "lowerdir=$ROOT,upperdir=$layer/upper,workdir=$layer/work" "$ROOT"
install_incus() {
	printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d"
	chmod 755 "$ROOT/usr/sbin/policy-rc.d"
	in_root env DEBIAN_FRONTEND=noninteractive APT_CONFIG="$BUILD/apt.conf" \
		apt-get install -q -y -t trixie-backports incus-base incus-client
}
[ -x "$ROOT/usr/bin/incus" ] || step "installing Incus over the toolchain root" "$LOGS/incus-install.log" install_incus
cp "$BUILD/root/.made-from" "$layer/made-from"

cat >"$layer/share/node.sh" <<'END'
set -e
export HOME=/root INCUS_DIR=/var/lib/incus
for dir in /var/lib/incus /var/log /srv; do
	mount -t tmpfs tmpfs "$dir"
done
mkdir -p /var/log/incus /srv/w
echo root:1000000:1000000000 | tee -a /etc/subuid >>/etc/subgid
ip link set lo up
/usr/libexec/incus/incusd --group root >/srv/incusd.log 2>&1 &
incus admin waitready --timeout 120
incus storage create default dir
incus profile device add default root disk path=/ pool=default
incus create --empty example
bpftoken check --no-trial --obj xdp.bpf.o --format incus >options
while read -r option; do
	incus config set example "$option"
done <options
# What it does not know, it refuses.
! incus config set example security.bpffs.delegate_map=array
incus config show example | bpftoken convert --format incus | diff options -

root=$INCUS_DIR/storage-pools/default/containers/example/rootfs
for dir in proc sys dev usr w etc run root var tmp; do
	mkdir -p "$root/$dir"
done
for dir in bin sbin lib lib64; do
	ln -s "usr/$dir" "$root/$dir"
done
chown -R 1000000:1000000 "$root"
cp -L /usr/local/bin/bpftoken xdp.bpf.o /srv/w
touch /srv/w/said
chmod 666 /srv/w/said
echo 'exec >/w/said 2>&1; /w/bpftoken load /w/xdp.bpf.o; echo "status $?"' >/srv/w/init
incus config device add example usr disk source=/usr path=/usr readonly=true
incus config device add example w disk source=/srv/w path=/w
incus config set example raw.lxc="lxc.init.cmd=/usr/bin/sh /w/init"

# started: what the container says once it has ended.
started() {
	: >/srv/w/said
	timeout 60 incus start example
	for _ in $(seq 60); do
		! grep -q '^status' /srv/w/said || break
		sleep 1
	done
	incus stop --force example 2>/dev/null || true
	cat /srv/w/said
}
started | tee /dev/stderr | grep -q 'loaded through a token from /sys/fs/bpf'
incus config set example security.bpffs.delegate_maps=hash
started | tee /dev/stderr | grep -q 'does not delegate map type array (delegate_maps=hash)'
echo "incus $(incus version | sed -n 's/^Server version: //p') takes bpftoken's options"
END
IMAGE=$IMAGE DIR=$layer/share CMD='bash node.sh' TIMEOUT=400 "$RUNNER/vm.sh" rust
