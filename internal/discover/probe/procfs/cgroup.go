package procfs

import "strings"

// parseGroups finds the systemd unit and the container in the control groups of a
// process, cgroups(7): lines of hierarchy, controllers and path.
func parseGroups(text string) (unit, container string) {
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if container == "" {
			container = containerOf(parts[2])
		}
		if unit == "" && (parts[1] == "" || parts[1] == "name=systemd") {
			unit = unitOf(parts[2])
		}
	}
	return Text(unit), container
}

// unitOf gives the innermost service of a path. Scopes that are made anew for
// each session or container say nothing that lasts.
func unitOf(path string) string {
	segments := strings.Split(path, "/")
	for i := len(segments) - 1; i >= 0; i-- {
		s := segments[i]
		switch {
		case strings.HasSuffix(s, ".service"):
			return s
		case strings.HasSuffix(s, ".scope") && lasting(s):
			return s
		}
	}
	return ""
}

func lasting(scope string) bool {
	return scope != "init.scope" && !strings.HasPrefix(scope, "session-") && !strings.HasPrefix(scope, "run-") && containerOf(scope) == ""
}

// idLength is that of the identities of containers with every engine that there
// is, in hexadecimal digits.
const idLength = 64

// containerOf gives the innermost container of a path: docker-ID.scope,
// /docker/ID, cri-containerd-ID.scope, libpod-ID.scope, /kubepods/…/ID.
func containerOf(path string) (id string) {
	for word := range strings.FieldsFuncSeq(path, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }) {
		if len(word) == idLength {
			id = word
		}
	}
	return id
}
