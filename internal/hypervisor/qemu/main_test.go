package qemu

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(abandonEnv) != "" {
		abandoned()
	}
	goleak.VerifyTestMain(m)
}
