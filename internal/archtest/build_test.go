package archtest

import (
	"fmt"
	"io/fs"
	"testing"
)

// maxBytes is how large a file of the repository may be. What is larger was built
// or fetched.
const maxBytes = 256 << 10

func TestNothingBuiltIsKept(t *testing.T) {
	t.Parallel()
	var problems []string
	err := fs.WalkDir(repository(t), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (foreign(d.Name()) || path == "bin" || path == "out") {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err == nil && info.Mode().IsRegular() && info.Size() > maxBytes {
			problems = append(problems, fmt.Sprintf("%s has %d bytes, at most %d: build it elsewhere", path, info.Size(), maxBytes))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	report(t, problems)
}
