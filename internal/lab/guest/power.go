package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

// powerButton calls pressed when the guest's power button is, which is how a
// hypervisor asks it to power off.
func powerButton(pressed func()) {
	inputs, err := filepath.Glob("/dev/input/event*")
	if err != nil || len(inputs) == 0 {
		fmt.Println("droveway-guest: no power button")
		return
	}
	for _, path := range inputs {
		f, err := os.Open(path)
		if err != nil {
			fmt.Println("droveway-guest:", err)
			continue
		}
		go watch(f, pressed)
	}
}

// watch reads the events of an input device: struct input_event of
// linux/input.h, 24 bytes on 64-bit machines.
func watch(f *os.File, pressed func()) {
	const typeKey, keyPower = 1, 116
	var event struct {
		Time [2]int64
		Type uint16
		Code uint16
		Down int32
	}
	for {
		if err := binary.Read(f, binary.NativeEndian, &event); err != nil {
			return
		}
		if event.Type == typeKey && event.Code == keyPower && event.Down == 1 {
			fmt.Println("droveway-guest: power button")
			pressed()
		}
	}
}
