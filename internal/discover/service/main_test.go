package service_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

func TestMain(m *testing.M) {
	if target := os.Getenv(proxyRole); target != "" {
		beProxy(target)
	}
	probetest.Main()
	goleak.VerifyTestMain(m)
}
