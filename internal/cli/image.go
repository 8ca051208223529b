package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
)

var imageColumns = []column[droveway.Image]{
	{title: "name", value: func(i droveway.Image) string { return i.Name }},
	{title: "state", value: func(i droveway.Image) string { return string(i.State) }},
	{title: "format", value: func(i droveway.Image) string { return string(i.Format) }},
	{title: "size", value: func(i droveway.Image) string { return bytesText(i.Size) }},
	{title: "file", value: func(i droveway.Image) string { return bytesText(i.Bytes) }},
	{title: "created", value: func(i droveway.Image) string { return stamp(i.Created) }},
	{title: "sha256", value: func(i droveway.Image) string { return i.SHA256 }, wide: true},
	{title: "from", value: func(i droveway.Image) string { return sourceText(i.Source) }, wide: true},
	{title: "source sha256", value: sourceSum, wide: true},
	{title: "system", value: func(i droveway.Image) string { return systemText(i.System) }, wide: true},
	{title: "firmware", value: func(i droveway.Image) string { return string(i.Firmware) }, wide: true},
	{title: "changes", value: changesText, wide: true},
	{title: "boot check", value: bootText, wide: true},
	{title: "job", value: func(i droveway.Image) string { return i.Job }, wide: true},
}

func sourceText(s *droveway.ImageSource) string {
	if s == nil {
		return ""
	}
	return strings.Join(slices.DeleteFunc([]string{s.Format, s.Location, s.Member}, func(s string) bool { return s == "" }), " ")
}

func systemText(s *droveway.ImageSystem) string {
	switch {
	case s == nil:
		return ""
	case s.Name == "":
		return string(s.Status)
	case s.Status == droveway.ImageIdentified:
		return s.Name
	}
	return s.Name + ", " + string(s.Status)
}

// changesText gives a changed file in a line.
func changesText(i droveway.Image) string {
	var lines []string
	for _, c := range i.Changes {
		line := c.Step + ": " + c.Path
		if c.Backup != "" {
			line += ", was kept as " + c.Backup
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n\t")
}

func bootText(i droveway.Image) string {
	if i.Boot == nil {
		return ""
	}
	return string(i.Boot.Verdict) + ": " + i.Boot.Reason
}

func sourceSum(i droveway.Image) string {
	if i.Source == nil || i.Source.SHA256 == i.SHA256 {
		return ""
	}
	return i.Source.SHA256
}

func imageCommand(a *app) *cobra.Command {
	return group("image", "Disks that machines are made from", imageImport(a), imageInspect(a), imageList(a), imageShow(a), imageRemove(a))
}

func imageList(a *app) *cobra.Command {
	return a.verb("ls", "List the images", nil, func(r run) error {
		images, err := r.api.Images(r.ctx)
		if err != nil {
			return err
		}
		return printList(a, images, imageColumns)
	})
}

func imageShow(a *app) *cobra.Command {
	return a.verb("show IMAGE", "Show an image", a.imageNames(), func(r run) error {
		i, err := r.api.Image(r.ctx, r.args[0])
		if err != nil {
			return err
		}
		return printOne(a, i, imageColumns)
	})
}

func imageRemove(a *app) *cobra.Command {
	return a.verb("rm IMAGE", "Remove an image", a.imageNames(), func(r run) error {
		if err := r.api.RemoveImage(r.ctx, r.args[0]); err != nil {
			return err
		}
		return a.note("image", r.args[0], "removed")
	})
}
