package qemu

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(abandonEnv) != "" {
		abandoned()
	}
	if os.Getenv(starterEnv) != "" {
		starter()
	}
	_ = flag.Set("test.parallel", "6") // guests are waited for more than worked with
	goleak.VerifyTestMain(m)
}
