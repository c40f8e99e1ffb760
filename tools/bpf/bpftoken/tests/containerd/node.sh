#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A node that runs pods with containerd, in this directory, without a registry.
#   bpftoken, kubelet, xdp.bpf.o   as their names say
#   nri.toml, pods/*.yaml          what to add to containerd's configuration, and what to run
# Prints what each pod says, between lines that name it and its exit status.

set -e

# An image that has bpftoken, what it is linked with, and an object.
mkdir -p image/root/{bin,dev,etc,proc,sys,tmp}
ldd bpftoken | grep -o '/[^ ]*' | xargs -I{} cp -L --parents {} image/root
cp bpftoken image/root/bin
cp /usr/bin/busybox image/root/bin
cp xdp.bpf.o image/root
tar -C image/root -cf image/layer.tar .
layer=$(sha256sum image/layer.tar | cut -d ' ' -f 1)
case $(uname -m) in
aarch64) architecture=arm64 ;;
*) architecture=amd64 ;;
esac
cat >image/config.json <<END
{ "architecture": "$architecture", "os": "linux",
  "config": { "Entrypoint": ["/bin/busybox", "sleep", "600"], "Env": ["PATH=/bin"] },
  "rootfs": { "type": "layers", "diff_ids": ["sha256:$layer"] } }
END
echo '[{ "Config": "config.json", "RepoTags": ["localhost/loader:1"], "Layers": ["layer.tar"] }]' >image/manifest.json
tar -C image -cf image.tar manifest.json config.json layer.tar

mkdir -p cni
cat >cni/10-pods.conflist <<END
{ "cniVersion": "0.4.0", "name": "pods", "plugins": [
  { "type": "ptp", "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.9.0.0/24" }]] } }] }
END
# The guest's root is an overlay, on which containerd's overlays can't stand, and its kernel has no controller for
# processors, which the runtime interface for Kubernetes wants to set.
{
	echo 'version = 2'
	cat nri.toml
} >nri-config.toml
cat >config.toml <<END
version = 2
root = "$PWD/containerd"
state = "$PWD/containerd-state"
imports = ["$PWD/nri-config.toml"]
[grpc]
  address = "$PWD/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/loader:1"
  disable_cgroup = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$PWD/cni"
END
ip link set lo up
containerd --config config.toml --log-level info >containerd.log 2>&1 &
for _ in $(seq 100); do
	ctr --address "$PWD/containerd.sock" version >/dev/null 2>&1 && break
	sleep 0.3
done
ctr --address "$PWD/containerd.sock" --namespace k8s.io image import image.tar >/dev/null
for pod in pods/*.yaml; do
	echo "pod $(basename "$pod" .yaml)"
	status=0
	timeout 120 ./kubelet "$PWD/containerd.sock" "$pod" 2>&1 || status=$?
	echo "status $status"
done
cat containerd.log >&2
