package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/image/source"
)

// fromFlags name a source that a new machine runs from before it is here.
type fromFlags struct {
	source string
	first  bool
	req    client.OriginRequest
}

func (f *fromFlags) add(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&f.source, "image-from", "", "`address` (https://, http://, s3://) of an image for the root disk that is not imported; needs --switch-first")
	fs.BoolVar(&f.first, "switch-first", false, "run from the source of --image-from at once; the disk fills while the machine runs, and the source is not needed any more once it is whole")
	fs.StringVar(&f.req.SHA256, "sha256", "", "`checksum` that the source of --image-from must have; checked once all of it is here, so the machine runs unverified until then")
	fs.StringVar(&f.req.Disk, "image-disk", "", "which `disk` of an OVA, by number from 1 on or by name")
}

// offered stands for the origin until the server has made one.
const offered = "offered"

func (f *fromFlags) check(image string) error {
	scheme, _, isURL := strings.Cut(f.source, "://")
	switch {
	case f.source == "" && (f.first || f.req != client.OriginRequest{}):
		return droveway.Errorf(droveway.Invalid, "--switch-first, --sha256 and --image-disk are about a source: give it with --image-from")
	case f.source == "":
		return nil
	case image != "":
		return droveway.Errorf(droveway.Invalid, "--image and --image-from: give one of them")
	case !f.first:
		return droveway.Errorf(droveway.Invalid, "--image-from %s: add --switch-first to run from it at once, or import it first with droveway image import", source.Shown(f.source))
	case !isURL:
		return droveway.Errorf(droveway.Invalid, "--image-from %s: a file here has to be sent first: droveway image import NAME %s", f.source, f.source)
	case scheme != "s3" && scheme != "http" && scheme != "https":
		return droveway.Errorf(droveway.Invalid, "--image-from: give an address that begins with https://, http:// or s3://")
	}
	return nil
}

// root makes the root disk one that is filled.
func (f *fromFlags) root(disks []droveway.Disk) []droveway.Disk {
	if f.source == "" {
		return disks
	}
	disks = withRoot(disks, "")
	for i := range disks {
		if disks[i].Name == rootDisk {
			disks[i].Origin, disks[i].Format = offered, droveway.QCOW2
		}
	}
	return disks
}

// offer has the server look at the source, and puts the origin into the machine.
func (f *fromFlags) offer(ctx context.Context, a *app, api *client.Client, s *droveway.MachineSpec) error {
	if f.source == "" {
		return nil
	}
	f.req.Link = f.source
	if strings.HasPrefix(f.source, "s3://") {
		var i importFlags
		if err := i.sign(ctx, a, f.source); err != nil {
			return err
		}
		f.req.Link, f.req.Shown = i.req.Link, i.req.Shown
	}
	o, err := api.OfferOrigin(ctx, f.req)
	if err != nil {
		return err
	}
	for _, n := range o.Notes {
		fmt.Fprintln(a.env.Err, "note:", n)
	}
	if o.Ordered != "" {
		fmt.Fprintln(a.env.Err, "note: the checksum is compared once all of the source is here: the machine runs unverified until then")
	}
	for i := range s.Disks {
		if s.Disks[i].Origin == offered {
			s.Disks[i].Origin = o.Name
		}
	}
	return nil
}

// filled says how long a machine took that ran from a source.
func filled(j droveway.Job) string {
	var res client.Filled
	if len(j.Result) == 0 || client.Decode(j.Result, &res) != nil || res.From == "" {
		return ""
	}
	text := "; its disk was whole"
	if res.RequestToAlive > 0 {
		text = fmt.Sprintf("; its guest was there after %s, its disk was whole", seconds(res.RequestToAlive))
	}
	if text += " after " + seconds(res.RequestToWhole); res.SHA256 != "" {
		text += " and has the checksum that was ordered"
	}
	return text
}

func seconds(ms int64) string {
	return (time.Duration(ms) * time.Millisecond).Round(100 * time.Millisecond).String()
}

// fillingText is how far the disks of a machine are.
func fillingText(m droveway.Machine) string {
	f := m.Status.Filling
	if f == nil {
		return ""
	}
	text := progressText(f.Progress)
	if f.Waits != "" {
		text += ", waits: " + f.Waits
	}
	return text
}
