// SPDX-License-Identifier: GPL-2.0

// Runs the first container of a pod, given as a manifest of Kubernetes, to its end: what a kubelet asks of
// the container runtime for it. Prints what the container says, and ends with its exit status.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"
)

// Of a manifest, what is understood here; the rest is refused.
type pod struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name        string            `json:"name"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		HostUsers     *bool       `json:"hostUsers"`
		RestartPolicy string      `json:"restartPolicy"`
		Containers    []container `json:"containers"`
	} `json:"spec"`
}

type container struct {
	Name            string   `json:"name"`
	Image           string   `json:"image"`
	Command         []string `json:"command"`
	SecurityContext struct {
		Capabilities struct {
			Add  []string `json:"add"`
			Drop []string `json:"drop"`
		} `json:"capabilities"`
	} `json:"securityContext"`
}

// The ids outside of a pod with a user namespace.
var ids = []*cri.IDMapping{{HostId: 100000, ContainerId: 0, Length: 65536}}

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: kubelet SOCKET POD.yaml"))
	}
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		fail(err)
	}
	var pod pod
	if err := yaml.UnmarshalStrict(text, &pod); err != nil {
		fail(err)
	}
	if pod.Kind != "Pod" || pod.APIVersion != "v1" || len(pod.Spec.Containers) == 0 {
		fail(fmt.Errorf("no pod of version v1 with containers"))
	}
	conn, err := grpc.NewClient("unix://"+os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fail(err)
	}
	runtime := cri.NewRuntimeServiceClient(conn)
	code, err := run(runtime, &pod)
	if err != nil {
		fail(err)
	}
	os.Exit(int(code))
}

func run(runtime cri.RuntimeServiceClient, pod *pod) (int32, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	logs, err := os.MkdirTemp("", "pod-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(logs)
	options := &cri.NamespaceOption{UsernsOptions: &cri.UserNamespace{Mode: cri.NamespaceMode_NODE}}
	if pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers {
		options.UsernsOptions = &cri.UserNamespace{Mode: cri.NamespaceMode_POD, Uids: ids, Gids: ids}
	}
	sandbox := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: pod.Metadata.Name, Uid: logs, Namespace: "default"},
		Annotations:  pod.Metadata.Annotations,
		LogDirectory: logs,
		Linux: &cri.LinuxPodSandboxConfig{
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: options},
		},
	}
	made, err := runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		return 0, err
	}
	defer func() {
		id := made.PodSandboxId
		runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id})
		runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
	}()
	first := pod.Spec.Containers[0]
	config := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: first.Name},
		Image:    &cri.ImageSpec{Image: first.Image},
		Command:  first.Command,
		LogPath:  "log",
		Linux: &cri.LinuxContainerConfig{
			Resources: &cri.LinuxContainerResources{},
			SecurityContext: &cri.LinuxContainerSecurityContext{
				Capabilities: &cri.Capability{
					AddCapabilities:  first.SecurityContext.Capabilities.Add,
					DropCapabilities: first.SecurityContext.Capabilities.Drop,
				},
				NamespaceOptions: options,
			},
		},
	}
	created, err := runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: made.PodSandboxId, Config: config, SandboxConfig: sandbox,
	})
	if err != nil {
		return 0, err
	}
	if _, err := runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
		return 0, err
	}
	for {
		status, err := runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: created.ContainerId})
		if err != nil {
			return 0, err
		}
		if status.Status.State == cri.ContainerState_CONTAINER_EXITED {
			tell(filepath.Join(logs, "log"))
			return status.Status.ExitCode, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Prints a log of the container runtime: a time, a stream, a flag and the text on each line.
func tell(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		fail(err)
	}
	for _, line := range strings.SplitAfter(string(text), "\n") {
		parts := strings.SplitN(line, " ", 4)
		if len(parts) != 4 {
			continue
		}
		if parts[1] == "stderr" {
			fmt.Fprint(os.Stderr, parts[3])
		} else {
			fmt.Print(parts[3])
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "kubelet:", err)
	os.Exit(1)
}
