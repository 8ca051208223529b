package service_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

func TestMain(m *testing.M) {
	probetest.Main()
	goleak.VerifyTestMain(m)
}
