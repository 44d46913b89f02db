package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
)

// facts are what the figures depend on.
type facts struct {
	list     [][2]string
	load     string
	versions map[string]string
}

// machine looks at what this runs on. What it cannot find out it leaves away.
func machine() facts {
	f := facts{load: load(), versions: map[string]string{}}
	add := func(name, value string) {
		if value != "" {
			f.list = append(f.list, [2]string{name, value})
		}
	}
	add("CPU", fmt.Sprintf("%d × %s", runtime.NumCPU(), cpu()))
	add("system", runtime.GOOS+"/"+runtime.GOARCH+" "+firstLine("/proc/sys/kernel/osrelease"))
	add("Go", runtime.Version())
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		add("commit", strings.TrimSpace(string(out)))
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			f.versions[m.Path] = m.Version
		}
	}
	return f
}

// version returns the version of a module that is linked in.
func (f facts) version(module string) string {
	switch {
	case module == "":
		return ""
	case f.versions[module] == "v0.0.0" || f.versions[module] == "(devel)":
		return module + ", this commit"
	}
	return strings.TrimSpace(module + " " + f.versions[module])
}

func cpu() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// load returns the load averages, or "unknown".
func load() string {
	if f := strings.Fields(firstLine("/proc/loadavg")); len(f) >= 3 {
		return strings.Join(f[:3], " ")
	}
	return "unknown"
}

func firstLine(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
