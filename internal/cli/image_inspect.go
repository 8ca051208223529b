package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/inspect"
	"github.com/droveway/droveway/internal/image/luks"
	"github.com/droveway/droveway/internal/image/preflight"
	"github.com/droveway/droveway/internal/image/repair"
	"github.com/droveway/droveway/internal/image/survey"
)

// inspectGC lets the heap grow to a few times what is in use, which is some 10 MiB.
const inspectGC = 400

// inspectFlags are the flags of image inspect.
type inspectFlags struct {
	explain  bool
	alone    bool // the plan of a repair and no more
	disk     string
	vectors  string
	keyFiles []string
	disc     string
	wishes   preflight.Wishes
}

// imageInspect needs no server: it reads the file by itself.
func imageInspect(a *app) *cobra.Command {
	var f inspectFlags
	c := &cobra.Command{
		Use: "inspect FILE", Short: "Tell what an image holds and what must change for it to run here",
		Long: "Reads an image (raw, qcow2, VMDK, VHD, VHDX or OVA) without mounting, changing or starting it,\nand needs no server. The disks of an OVA are looked at as one machine. --explain shows what every test gave and why the system was recognised.",
		Example: `  droveway image inspect disk.vmdk
  droveway image inspect disk.vmdk --preflight
  droveway image inspect disk.qcow2 --luks-key key.txt --explain`,
		Args: operands("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			// One short run that keeps little: to collect what it leaves costs more.
			defer debug.SetGCPercent(debug.SetGCPercent(inspectGC))
			return a.inspect(cmd.Context(), args[0], f)
		},
	}
	c.Flags().BoolVar(&f.explain, "explain", false, "show the tests and how near each system is")
	c.Flags().BoolVar(&f.alone, "preflight", false, "show what a repair would change, file by file, and what will not work")
	c.Flags().StringVar(&f.disk, "disk", "", "which `disk` of an OVA, by number from 1 on, by name, or by the machine of the OVF that has it (default: all, as one machine)")
	c.Flags().StringVar(&f.vectors, "vectors", "", "`folder` of further identification files (*.yaml)")
	c.Flags().StringVar(&f.disc, "virtio-win", "", "`file` that is a virtio-win ISO: what a repair would take from it for a Windows")
	addHow(c, &f.wishes.Addresses, &f.wishes.Rebuild)
	c.Flags().StringArrayVar(&f.keyFiles, "luks-key", nil, "`file` with a key or passphrase for encrypted volumes; UUID=FILE for one of them (repeatable)")
	return c
}

func (a *app) inspect(ctx context.Context, path string, f inspectFlags) error {
	if err := f.wishes.Validate(); err != nil {
		return err
	}
	if f.disc != "" {
		drivers, done, err := preflight.Drivers(f.disc)
		if err != nil {
			return droveway.Errorf(droveway.KindOf(err), "--virtio-win %s: %w", f.disc, err)
		}
		defer done()
		f.wishes.VirtioWin = drivers
	}
	systems, err := catalog(f.vectors)
	if err != nil {
		return err
	}
	keys, err := luks.ReadKeys(f.keyFiles)
	if err != nil {
		return err
	}
	source, disks, err := survey.OpenMachine(path, f.disk)
	if err != nil {
		return err
	}
	defer source.Close()
	var plan *repair.Plan
	r, err := inspect.Disks(ctx, disks, inspect.Options{Catalog: systems, Keys: keys, Then: func(r *inspect.Report, t *filesystem.Tree) (err error) {
		plan, err = repair.MakeWith(r, t, f.wishes.Options())
		return err
	}})
	switch {
	case err != nil:
		return err
	case f.alone && a.output == "table":
		return writePlan(a.env.Out, plan, f.wishes.Full())
	case f.alone:
		return a.encode(plan)
	case a.output == "table":
		return writeInspection(a.env.Out, r, plan, f.explain)
	}
	return a.encode(inspected{r, plan})
}

// inspected is what is known of an image.
type inspected struct {
	*inspect.Report
	Preflight *repair.Plan `json:"preflight"`
}

// catalog is the systems that come with the program, and those of a folder.
func catalog(folder string) (*identify.Catalog, error) {
	c, err := identify.Default()
	if err != nil || folder == "" {
		return c, err
	}
	info, err := os.Stat(folder)
	if err == nil && !info.IsDir() {
		err = droveway.Errorf(droveway.Invalid, "%s: not a folder", folder)
	}
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "read identification files: %w", err)
	}
	return c, c.Add(os.DirFS(folder))
}

func writeInspection(out io.Writer, r *inspect.Report, plan *repair.Plan, explain bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range inspectionRows(r) {
		if row[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
		}
	}
	fmt.Fprintln(w)
	writeDisks(w, r.Disks)
	writeVolumes(w, r.Volumes)
	writePreflight(w, plan)
	if explain {
		writeExplanation(w, r)
	}
	return flush(w)
}

func inspectionRows(r *inspect.Report) [][2]string {
	y, o := &r.System, &r.OS
	rows := [][2]string{
		{"image", imageText(&r.Image)},
		{"size", bytesText(r.Image.Size)},
		{"partitions", r.Disk.Kind},
		{"os", strings.TrimSpace(o.Name + " " + parenthesis(o.ID))},
		{"version", o.Version},
		{"result", fmt.Sprintf("%s, margin %.2f", o.Status, o.Margin)},
		{"architecture", y.Architecture},
		{"firmware", strings.Join(y.Firmware, ", ")},
		{"boot loader", y.BootLoader},
		{"init", y.Init},
		{"network", strings.Join(y.Network.Kinds, ", ")},
		{"guest tools", strings.Join(y.Tools, ", ")},
	}
	if n := len(r.Disks); n > 1 {
		rows[0][1], rows[1][1] = fmt.Sprintf("%d disks of one machine", n), bytesText(together(r.Disks))
	}
	if o.Status != identify.Identified && len(o.Why) > 0 {
		rows = slices.Insert(rows, 6, [2]string{"because", o.Why[0]})
	}
	for _, k := range y.Kernels {
		text := fmt.Sprintf("%s, virtio disk: %s, network: %s", k.Version, better(k.Virtio.Block, k.Virtio.SCSI), k.Virtio.Net)
		if k.InitramfsKind != "" {
			text += ", initramfs: " + k.InitramfsKind
		}
		rows = append(rows, [2]string{"kernel", text})
	}
	return rows
}

func imageText(i *inspect.Image) string {
	return strings.Join(strings.Fields(i.Format+" "+i.Variant+" "+i.Member), " ")
}

func together(disks []inspect.Drive) (size int64) {
	for _, d := range disks {
		size += d.Image.Size
	}
	return size
}

// writeDisks shows what each of several disks is for.
func writeDisks(w io.Writer, disks []inspect.Drive) {
	if len(disks) == 0 {
		return
	}
	fmt.Fprintln(w, "DISK\tIMAGE\tSIZE\tPARTITIONS\tBOOTS\tHOLDS")
	for _, d := range disks {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", d.Number, imageText(&d.Image), bytesText(d.Image.Size), d.Disk.Kind, yesNo(d.Boots), dash(strings.Join(d.Mounts, ", ")))
	}
	fmt.Fprintln(w)
}

// better is the nearer of two places of a driver.
func better(a, b string) string {
	for _, where := range []string{"built-in", "initramfs", "modules"} {
		if a == where || b == where {
			return where
		}
	}
	return a
}

func parenthesis(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

func writeVolumes(w io.Writer, volumes []inspect.Volume) {
	fmt.Fprintln(w, "VOLUME\tHOLDS\tSIZE\tFREE\tMOUNT\tNOTE")
	for _, v := range volumes {
		free := "-"
		if v.Free >= 0 {
			free = bytesText(v.Free)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", v.Name, v.Kind, bytesText(v.Size), free, dash(v.Mount), dash(noteOf(&v)))
	}
}

func noteOf(v *inspect.Volume) string {
	if v.Encrypted && !v.Unlocked && v.Problem == "" {
		return "encrypted: give its key with --luks-key"
	}
	if v.Lacks > 0 {
		return "truncated: " + bytesText(v.Lacks) + " are missing"
	}
	return v.Dirty + v.Problem
}

func writeExplanation(w io.Writer, r *inspect.Report) {
	fmt.Fprintln(w)
	fmt.Fprintln(w, "TEST\tGAVE")
	names := make([]string, 0, len(r.OS.Vector))
	for name := range r.OS.Vector {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(w, "%s\t%s\n", name, valueText(r.OS.Vector[name]))
	}
	for _, c := range r.OS.Ranked {
		fmt.Fprintf(w, "\n%s\tdistance %.3f\n", c.ID, c.Distance)
		for _, e := range c.Evidence {
			fmt.Fprintf(w, "  %s %s\tweight %g\twanted %s\tgot %s\n", e.Verdict, e.Test, e.Weight, e.Want, dash(e.Got))
		}
	}
	for _, why := range r.OS.Why {
		fmt.Fprintf(w, "\nbecause\t%s", why)
	}
	for _, k := range r.System.Kernels {
		if len(k.Ruled) > 0 {
			fmt.Fprintf(w, "\nby its rules\tthe initramfs of %s has %s: they were not looked for", k.Version, strings.Join(k.Ruled, ", "))
		}
	}
	fmt.Fprintf(w, "\n\nread\t%s in %d ms\n", bytesText(r.ReadBytes), r.TookMS)
}

const shownValues = 3

func valueText(v identify.Value) string {
	switch {
	case v.NotRun:
		return "not needed"
	case v.Error != "":
		return "failed: " + v.Error
	case v.Absent():
		return "absent"
	}
	text := fmt.Sprintf("%q", v.Values[:min(shownValues, len(v.Values))])
	if more := len(v.Values) - shownValues; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
