package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/image/luks"
	"github.com/droveway/droveway/internal/image/preflight"
	"github.com/droveway/droveway/internal/image/source"
	"github.com/droveway/droveway/internal/image/survey"
)

const importLong = `Import an image that machines are made from. SOURCE is a file, - for standard
input, an address (http, https) or an object in S3 (s3://bucket/key). It may be raw,
qcow2, VMDK (with all its files in one folder), VHD, VHDX, or an OVA. Raw and qcow2
are kept as they are, the rest becomes qcow2.

A file is sent to the server: if that is cut, the same command goes on where it was.
An address is fetched by the server itself, which goes on by itself; an object in S3
by a link that is signed here and valid for a day, so that your keys stay with you.

An OVA with several disks becomes the images NAME-1, NAME-2 and so on, or with --disk
one image called NAME.

What the image holds is found out before it is published. One that would not run here
is repaired, if it can be (--repair auto), and then booted to see whether it comes up
(--check auto); one that is made for virtio, as cloud images are, stays as it is. An
image that fails its boot check is not published. --dry-run shows what would be done.
What is encrypted is imported as it is, unless --luks-key opens it for a repair. The key
stays in the memory of the server until the import has ended, and is nowhere written.
A Windows needs drivers: import virtio-win.iso once as an image, and name it with
--virtio-win.
Fixed IP addresses stay, unless --addresses dhcp gives them up, which is a repair.

To run a machine from an address at once, while its disk arrives:
  droveway machine create MACHINE --image-from ADDRESS --switch-first`

// importFlags are the flags of image import.
type importFlags struct {
	jobFlags
	req client.ImportRequest
	s3  source.S3
	dry bool

	keyFiles []string
	keys     []luks.Key

	first bool // as of machine create; refused
}

func imageImport(a *app) *cobra.Command {
	var f importFlags
	c := &cobra.Command{Use: "import NAME SOURCE", Short: "Import an image from a file, an address or S3", Long: importLong, Args: operands("NAME", "SOURCE")}
	c.Example = `  droveway image import debian-12 debian-12-genericcloud-amd64.qcow2
  droveway image import web web.ova --dry-run
  droveway image import db https://example.org/db.vmdk --sha256 CHECKSUM
  droveway image import old s3://bucket/old.vhdx --repair force --check boot`
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.importImage(cmd.Context(), args[0], args[1], &f)
	}
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return []cobra.Completion{"https://", "s3://"}, cobra.ShellCompDirectiveDefault | cobra.ShellCompDirectiveNoSpace // or a file
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c.Flags().BoolVar(&f.wait, "wait", true, "wait until the image is there, and show how far it is")
	c.Flags().StringVar(&f.request, "request-id", "", "name of this request: repeating it does not do it again")
	c.Flags().StringVar(&f.req.SHA256, "sha256", "", "`checksum` that the source must have, in hexadecimal")
	c.Flags().StringVar(&f.req.Disk, "disk", "", "which `disk` of an OVA, by number from 1 on, by name, or by the machine of the OVF that has it (default: all)")
	c.Flags().StringVar(&f.s3.Endpoint, "s3-endpoint", "", "`URL` of the S3 server (default: $AWS_ENDPOINT_URL_S3, $AWS_ENDPOINT_URL, then AWS)")
	c.Flags().StringVar(&f.s3.Region, "s3-region", "", "`region` of the bucket (default: $AWS_REGION, $AWS_DEFAULT_REGION)")
	f.req.Repair, f.req.Check = droveway.RepairAuto, droveway.CheckAuto
	AddChoice(c, &f.req.Repair, "repair", "change what keeps the guest from running here: auto, none or force", droveway.RepairAuto, droveway.RepairNone, droveway.RepairForce)
	AddChoice(c, &f.req.Check, "check", "boot the image before it is published: auto (if it was repaired), boot or none", droveway.CheckAuto, droveway.CheckBoot, droveway.CheckNone)
	c.Flags().StringArrayVar(&f.req.MACs, "mac", nil, "`address` of a network card of the machine, so that a repair keeps the card's name (repeatable)")
	c.Flags().StringArrayVar(&f.keyFiles, "luks-key", nil, "`file` with a key or passphrase for encrypted volumes; UUID=FILE for one of them (repeatable)")
	c.Flags().StringVar(&f.req.VirtioWin, "virtio-win", "", "`image` that is a virtio-win ISO, for the drivers of a Windows")
	addHow(c, &f.req.Addresses, &f.req.Rebuild)
	c.Flags().BoolVar(&f.first, "switch-first", false, "")
	_ = c.Flags().MarkHidden("switch-first") // only there to say what does it
	_ = c.RegisterFlagCompletionFunc("virtio-win", a.imageNames())
	c.Flags().BoolVar(&f.dry, "dry-run", false, "tell what SOURCE is and what would become of it, and copy nothing")
	return c
}

// addHow adds the flags that say how a repair is done.
func addHow(c *cobra.Command, addresses *droveway.Addresses, rebuild *droveway.Rebuild) {
	*addresses, *rebuild = droveway.AddressesKeep, droveway.RebuildAuto
	AddChoice(c, addresses, "addresses", "fixed IP addresses in the guest: keep, or dhcp to give them up", droveway.AddressesKeep, droveway.AddressesDHCP)
	AddChoice(c, rebuild, "rebuild", "initramfs and loader in a repair: auto (by writing files, where that is enough) or guest (by the guest's own programs)", droveway.RebuildAuto, droveway.RebuildGuest)
}

func (f *importFlags) wishes() preflight.Wishes {
	return preflight.Wishes{Repair: f.req.Repair, Check: f.req.Check, Addresses: f.req.Addresses, Rebuild: f.req.Rebuild, Keys: f.keys, Promised: f.req.VirtioWin != ""}
}

// readKeys reads the keys that go with the request.
func (f *importFlags) readKeys() (err error) {
	f.keys, err = luks.ReadKeys(f.keyFiles)
	for i := range f.keys {
		k := &f.keys[i]
		f.req.Keys = append(f.req.Keys, client.LUKSKey{Name: k.Name, UUID: k.UUID, Key: k.Secret()})
	}
	return err
}

// check refuses what the server would refuse, before a file is sent to it.
func (f *importFlags) check() error {
	if err := cmp.Or(f.wishes().Validate(), droveway.ValidSHA256(f.req.SHA256), f.checkDrivers()); err != nil {
		return err
	}
	for _, m := range f.req.MACs {
		if _, err := net.ParseMAC(m); err != nil {
			return droveway.Errorf(droveway.Invalid, "--mac %q: give six pairs of hexadecimal digits, as 52:54:00:12:34:56", m)
		}
	}
	return nil
}

// checkDrivers says so to whoever names a file: the image that is named serves all
// imports, and is sent once.
func (f *importFlags) checkDrivers() error {
	if f.req.VirtioWin == "" || droveway.ValidName("image", f.req.VirtioWin) == nil {
		return nil
	}
	return droveway.Errorf(droveway.Invalid, "--virtio-win %s: that is no name of an image: import the disc first, once, with droveway image import virtio-win %s, then give --virtio-win virtio-win", f.req.VirtioWin, f.req.VirtioWin)
}

func (a *app) importImage(ctx context.Context, name, from string, f *importFlags) error {
	if err := cmp.Or(droveway.ValidName("image", name), f.check(), f.readKeys()); err != nil {
		return err
	}
	scheme, _, isURL := strings.Cut(from, "://")
	switch {
	case f.first:
		return notFirst(from, isURL)
	case from == "-":
		return a.importStream(ctx, name, f)
	case !isURL:
		return a.importFile(ctx, name, from, f)
	case scheme == "s3":
		if err := f.sign(ctx, a, from); err != nil {
			return err
		}
	case scheme == "http", scheme == "https":
		f.req.Link = from
	default:
		return droveway.Errorf(droveway.Invalid, "source %s: give a file, -, or an address that begins with https://, http:// or s3://", from)
	}
	return a.withClient(func(api *client.Client) error {
		if !f.dry {
			return a.startImport(ctx, api, name, f)
		}
		p, err := api.PlanImport(ctx, name, f.req)
		if err != nil {
			return err
		}
		return a.printPlan(p)
	})
}

// notFirst says what runs before it is here, which an image never does.
func notFirst(from string, isURL bool) error {
	if !isURL {
		return droveway.Errorf(droveway.Unsupported, "--switch-first: machines can run at once from an address (https://, http://, s3://), not from a file that has to be sent: leave it out")
	}
	return droveway.Errorf(droveway.Unsupported, "--switch-first: an image is published when it is whole, and was repaired and booted if it needs that: to run from the address at once: droveway machine create MACHINE --image-from %s --switch-first", source.Shown(from))
}

// sign makes a link to an object in S3.
func (f *importFlags) sign(ctx context.Context, a *app, address string) error {
	var err error
	if f.s3.Bucket, f.s3.Key, err = source.ParseS3(address); err != nil {
		return err
	}
	f.s3.FromEnvironment(a.env.Getenv)
	f.req.Shown = address
	f.req.Link, err = f.s3.Link(ctx)
	return err
}

func (a *app) withClient(do func(*client.Client) error) error {
	api, err := a.client()
	if err != nil {
		return err
	}
	defer api.Close()
	return do(api)
}

// importFile looks at a file before any of it is sent.
func (a *app) importFile(ctx context.Context, name, path string, f *importFlags) error {
	s, err := survey.Open(path)
	if droveway.Is(err, droveway.NotFound) || droveway.Is(err, droveway.Permission) {
		return droveway.Errorf(droveway.Invalid, "%w", err) // these would be of the image
	}
	if err != nil {
		return err
	}
	defer s.Close()
	plan, err := s.Plan(name, f.req.Disk)
	if err != nil {
		return err
	}
	if f.dry {
		plan.Resumable = true
		if err := preflight.Foresee(ctx, s, &plan, f.req.Disk, f.wishes()); err != nil {
			return err
		}
		return a.printPlan(plan)
	}
	whole, err := s.Whole()
	if err != nil {
		return err
	}
	defer whole.Close()
	if f.req.Upload, err = uploadName(append([]string{path}, s.Parts...)); err != nil {
		return err
	}
	return a.withClient(func(api *client.Client) error {
		up := a.newUpload(name, whole.Size())
		err := api.Upload(ctx, name, f.req.Upload, whole, whole.Size(), up.show)
		up.end()
		if ctx.Err() != nil {
			fmt.Fprintln(a.env.Err, "interrupted; the same command goes on where it was")
		}
		if err != nil {
			return err
		}
		return a.startImport(ctx, api, name, f)
	})
}

func (a *app) importStream(ctx context.Context, name string, f *importFlags) error {
	if f.dry {
		return droveway.Errorf(droveway.Invalid, "standard input can be read only once: give a file to --dry-run")
	}
	f.req.Upload = strings.ToLower(rand.Text())
	return a.withClient(func(api *client.Client) error {
		up := a.newUpload(name, 0)
		err := api.UploadStream(ctx, name, f.req.Upload, a.env.In, up.show)
		up.end()
		if err != nil {
			return err
		}
		return a.startImport(ctx, api, name, f)
	})
}

func (a *app) startImport(ctx context.Context, api *client.Client, name string, f *importFlags) error {
	j, err := api.StartImport(ctx, name, f.req, client.Request(f.request))
	if err != nil {
		return err
	}
	if !f.wait {
		return printOne(a, j, jobColumns)
	}
	if j, err = a.follow(ctx, api, j.Name); err != nil {
		return err
	}
	if j.State == droveway.JobFailed {
		a.showBoot(j)
		return &jobFailed{j}
	}
	return a.imported(ctx, api, j)
}

// showBoot shows what was seen of an image that does not boot.
func (a *app) showBoot(j droveway.Job) {
	var res droveway.ImportResult
	if err := client.Decode(j.Result, &res); err != nil || res.Boot == nil || res.Boot.Console == "" {
		return
	}
	fmt.Fprintf(a.env.Err, "the last of its console:\n    %s\n", strings.ReplaceAll(res.Boot.Console, "\n", "\n    "))
}

// imported prints the images that an import has made.
func (a *app) imported(ctx context.Context, api *client.Client, j droveway.Job) error {
	var res droveway.ImportResult
	if err := client.Decode(j.Result, &res); err != nil {
		return err
	}
	for _, n := range res.Notes {
		fmt.Fprintln(a.env.Err, "note:", n)
	}
	var images []droveway.Image
	for _, name := range res.Images {
		i, err := api.Image(ctx, name)
		if err != nil {
			return err
		}
		images = append(images, i)
	}
	if len(images) == 1 {
		return printOne(a, images[0], imageColumns)
	}
	return printList(a, images, imageColumns)
}
