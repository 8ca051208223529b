package appliance

import (
	"cmp"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
)

// libraryDirs are where libraries of this host are.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}

// bundle is the program that writes NTFS, with all that it needs, by the names that the
// appliance has them under: its kernel cannot, as Debian builds it.
func (a *Appliance) bundle() (map[string]string, error) {
	program, err := exec.LookPath(cmp.Or(a.cfg.NTFS, "ntfs-3g"))
	if err != nil {
		return nil, droveway.Missing("image.repair.windows", "a Windows is repaired by ntfs-3g: install the package ntfs-3g on this host: %v", err)
	}
	files, err := closure(program)
	if err != nil {
		return nil, droveway.Errorf(droveway.KindOf(err), "read %s: %w", program, err)
	}
	files[wire.NTFSProgram] = program
	return files, nil
}

// closure lists the libraries of a program, and theirs, and what loads them.
func closure(program string) (map[string]string, error) {
	files := map[string]string{}
	todo := []string{program}
	for len(todo) > 0 {
		needs, loader, err := linked(todo[0])
		if err != nil {
			return nil, err
		}
		todo = todo[1:]
		if loader != "" {
			files[wire.NTFSLoader] = loader
		}
		for _, name := range needs {
			if files[name] != "" {
				continue
			}
			if files[name] = findLibrary(name); files[name] == "" {
				return nil, droveway.Missing("image.repair.windows", "it needs the library %s, which is not in %s", name, strings.Join(libraryDirs, ", "))
			}
			todo = append(todo, files[name])
		}
	}
	return files, nil
}

// linked says what an ELF file is linked with. A program that is linked with nothing has
// no loader.
func linked(file string) (needs []string, loader string, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, "", droveway.Errorf(droveway.Unsupported, "%s is no program: %w", file, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, min(p.Filesz, 4096))
		if _, err := p.ReadAt(b, 0); err != nil {
			return nil, "", droveway.Errorf(droveway.Invalid, "%s: %w", file, err)
		}
		loader = strings.TrimRight(string(b), "\x00")
	}
	needs, err = f.ImportedLibraries()
	return needs, loader, err
}

// findLibrary finds one of this host's architecture.
func findLibrary(name string) string {
	for _, dir := range libraryDirs {
		file := filepath.Join(dir, filepath.Base(name))
		f, err := elf.Open(file)
		if err != nil {
			continue
		}
		fits := f.Machine == elf.EM_X86_64 && f.Class == elf.ELFCLASS64
		f.Close()
		if fits {
			return file
		}
	}
	return ""
}

// readable is a file's contents for the appliance.
func readable(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, droveway.Errorf(droveway.Permission, "read what the appliance needs: %w", err)
	}
	return b, nil
}
