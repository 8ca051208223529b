package inside

import (
	"io"
	"os"
	"path"
	"strings"

	"github.com/droveway/droveway/internal/image/initramfs"
)

// extend writes an initramfs that is the old one and, behind it, files of the guest:
// the kernel unpacks one archive after the other, and takes the last of files that
// have the same name.
func extend(out io.Writer, old string, files []string) error {
	in, err := os.Open(old)
	if err != nil {
		return err
	}
	defer in.Close()
	n, err := io.Copy(out, in)
	if err != nil {
		return err
	}
	// The kernel looks for an archive at multiples of four. Decompressors want zeros
	// where their part ends.
	if _, err := out.Write(make([]byte, 512-n%512)); err != nil {
		return err
	}
	return archive(out, files)
}

// archive writes files as they are named in an initramfs: without /usr, since /lib
// leads to it where the two are one. Of /lib itself nothing is said, as a directory
// would take the place of that link.
func archive(out io.Writer, files []string) error {
	w := initramfs.NewWriter(out)
	made := map[string]bool{"lib": true}
	for _, f := range files {
		name := strings.TrimPrefix(strings.TrimPrefix(path.Clean(f), "/"), "usr/")
		for _, dir := range parents(name) {
			if !made[dir] {
				made[dir] = true
				w.Dir(dir)
			}
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		w.File(name, 0o644, b)
	}
	return w.Close()
}

// parents are the directories above a file, the outermost first.
func parents(name string) []string {
	var all []string
	for i, c := range name {
		if c == '/' {
			all = append(all, name[:i])
		}
	}
	return all
}
