// SPDX-License-Identifier: GPL-2.0

// Loads all of a BPF object, given as a file, with cilium/ebpf as Debian has it.
package main

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"
)

func main() {
	if len(os.Args) != 2 {
		fail("usage: go-client FILE")
	}
	collection, err := ebpf.LoadCollection(os.Args[1])
	if err != nil {
		fail(fmt.Sprintf("%+v", err))
	}
	for name := range collection.Programs {
		fmt.Println("loaded", name)
	}
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(1)
}
