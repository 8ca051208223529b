package qemu

import (
	"context"
	"encoding/json"
	"os"
	"syscall"

	"github.com/droveway/droveway/internal/hypervisor"
)

// abandonEnv makes the test binary start the instance of the Spec that it holds,
// print the handle, and kill itself.
const (
	abandonEnv = "DROVEWAY_TEST_ABANDON"
	userEnv    = "DROVEWAY_TEST_USER" // that it runs as
)

func abandoned() {
	var spec hypervisor.Spec
	err := json.Unmarshal([]byte(os.Getenv(abandonEnv)), &spec)
	if err == nil {
		var i hypervisor.Instance
		if i, err = New(Config{User: os.Getenv(userEnv)}).Start(context.Background(), spec); err == nil {
			_, err = os.Stdout.Write(i.Handle())
		}
	}
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
