package image

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/droveway/droveway"
)

// oneTable is what one table of a qcow2 maps: at such places a conversion is kept.
const oneTable = 512 << 20

// convertIn makes an image of the source in a folder, in the library there.
func convertIn(ctx context.Context, dir string, progress func(int64)) (droveway.Image, error) {
	l, err := Open(filepath.Join(dir, "library"), quiet())
	if err != nil {
		return droveway.Image{}, err
	}
	return l.imported(ctx, "a", source{filepath.Join(dir, "source.vmdk"), "x", "j"}, progress)
}

// helpConvert converts until a first part is kept, and then a little more until it is
// killed.
func helpConvert(dir string) {
	kept := false
	_, err := convertIn(context.Background(), dir, func(done int64) {
		switch {
		case done < oneTable:
		case !kept:
			kept = true
			time.Sleep(2100 * time.Millisecond) // so that a checkpoint is due
		default:
			fmt.Println("kept")
			time.Sleep(time.Hour) // a select without a case may be found to be a deadlock, which ends the process
		}
	})
	panic(err)
}

// TestKillInConversion kills a process with -9 that converts a disk: another goes on
// where it was, and the image is right. SYSTEMS 5.8, 5.9.
func TestKillInConversion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	raw, vmdk := filepath.Join(dir, "raw"), filepath.Join(dir, "source.vmdk")
	f, err := os.Create(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at := int64(0); at < 4*oneTable; at += oneTable / 4 {
		if _, err := f.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(4 * oneTable); err != nil {
		t.Fatal(err)
	}
	tool(t, "convert", "-f", "raw", "-O", "vmdk", raw, vmdk)
	before := fileSum(t, vmdk)
	killInConversion(t, dir)
	if left := names(t, filepath.Join(dir, "library")); len(left) > 0 {
		t.Errorf("the library has %v after the kill", left)
	}
	first := int64(-1)
	img, err := convertIn(t.Context(), dir, func(done int64) {
		if first < 0 {
			first = done
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if first <= oneTable {
		t.Errorf("it went on at %d", first)
	}
	made := filepath.Join(dir, "library", "a")
	tool(t, "check", "-f", "qcow2", made)
	tool(t, "compare", "-f", "raw", "-F", "qcow2", raw, made)
	if img.SHA256 != fileSum(t, made) || fileSum(t, vmdk) != before {
		t.Error("the image's checksum is wrong, or the source has changed")
	}
}

func fileSum(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sum(b)
}

func killInConversion(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"=convert:"+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Error(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
}
