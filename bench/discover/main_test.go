package main

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	beChild()
	os.Exit(m.Run())
}
