package initramfs

import (
	"bytes"
	"debug/elf"
	"io"
	"strings"

	"github.com/droveway/droveway"
)

// ModuleNeeds gives the names of the modules that a kernel module, unpacked, says that
// it needs: in NUL-separated key=value pairs in the section .modinfo. Those of softdep
// are aliases more often than names, so they are left out. Invalid, if it is none.
func ModuleNeeds(module io.ReaderAt) ([]string, error) {
	f, err := elf.NewFile(module)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "%w", err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, droveway.Errorf(droveway.Invalid, "it says nothing of itself")
	}
	info, err := section.Data()
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "%w", err)
	}
	var needs []string
	for pair := range bytes.SplitSeq(info, []byte{0}) {
		list, ok := strings.CutPrefix(string(pair), "depends=")
		for n := range strings.SplitSeq(list, ",") {
			if ok && n != "" {
				needs = append(needs, strings.ReplaceAll(n, "-", "_"))
			}
		}
	}
	return needs, nil
}
