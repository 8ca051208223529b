package inspect

import (
	"bytes"
	"context"
	"testing"

	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/imagetest"
)

func BenchmarkDisk(b *testing.B) {
	image := imagetest.Image(b, "split")
	c, err := identify.Default()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		i, err := format.New(bytes.NewReader(image), int64(len(image)))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Disk(context.Background(), i, Options{Catalog: c}); err != nil {
			b.Fatal(err)
		}
	}
}
