// SPDX-License-Identifier: GPL-2.0

// The side of a container runtime that speaks to plugins of the Node Resource Interface, by the library
// that containerd and CRI-O have it from. Reads a request to create a container on each line of its
// standard input, and prints what the plugins make of it, or the error, on a line each.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/log"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: nri-runtime SOCKET PLUGINS-TO-START"))
	}
	connected := make(chan struct{}, 8)
	log.Set(logger{connected})
	synchronize := func(ctx context.Context, call adaptation.SyncCB) error {
		_, err := call(ctx, []*api.PodSandbox{{Id: "old"}}, []*api.Container{{Id: "older"}})
		return err
	}
	update := func(context.Context, []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) {
		return nil, fmt.Errorf("nobody updates here")
	}
	runtime, err := adaptation.New("stub", "0.0", synchronize, update,
		adaptation.WithSocketPath(os.Args[1]), adaptation.WithPluginPath(os.Args[2]))
	if err != nil {
		fail(err)
	}
	if err := runtime.Start(); err != nil {
		fail(err)
	}
	plugins, _ := os.ReadDir(os.Args[2])
	if len(plugins) == 0 {
		<-connected
	}
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 8<<20)
	for input.Scan() {
		request := &api.CreateContainerRequest{}
		if err := protojson.Unmarshal(input.Bytes(), request); err != nil {
			fail(err)
		}
		response, err := runtime.CreateContainer(context.Background(), request)
		var line []byte
		if err != nil {
			line, _ = json.Marshal(map[string]string{"error": err.Error()})
		} else if line, err = protojson.Marshal(response); err != nil {
			fail(err)
		}
		fmt.Println(string(line))
	}
	runtime.Stop()
}

// Passes on what the library says, and waits for what it says last when a plugin has come.
type logger struct {
	connected chan struct{}
}

func (l logger) say(format string, args ...interface{}) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintln(os.Stderr, text)
	if strings.HasPrefix(text, "plugin ") && strings.HasSuffix(text, " connected") {
		l.connected <- struct{}{}
	}
}

func (l logger) Debugf(_ context.Context, format string, args ...interface{}) { l.say(format, args...) }
func (l logger) Infof(_ context.Context, format string, args ...interface{})  { l.say(format, args...) }
func (l logger) Warnf(_ context.Context, format string, args ...interface{})  { l.say(format, args...) }
func (l logger) Errorf(_ context.Context, format string, args ...interface{}) { l.say(format, args...) }

func fail(err error) {
	fmt.Fprintln(os.Stderr, "nri-runtime:", err)
	os.Exit(1)
}
