package jenkins

import (
	"archive/zip"
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// home is a JENKINS_HOME, read anew for every answer.
type home string

// version is the one that the home was last written by.
func (h home) version() string {
	var config struct {
		Version string `xml:"version"`
	}
	data, err := os.ReadFile(filepath.Join(string(h), "config.xml"))
	if err != nil || xml.Unmarshal(declare10(data), &config) != nil || config.Version == "" {
		return "2.516.3"
	}
	return config.Version
}

// declare10 makes Jenkins' XML 1.1 readable: nothing in a config needs more than 1.0.
func declare10(data []byte) []byte {
	text := string(data)
	for _, quote := range []string{"'", `"`} {
		text = strings.Replace(text, "version="+quote+"1.1"+quote, "version="+quote+"1.0"+quote, 1)
	}
	return []byte(text)
}

// job is a job or a folder.
type job struct {
	dir      string
	name     string
	fullName string
	folder   bool
	children []job
	next     int
	builds   []build // newest first
}

type build struct {
	number int
	result string // "" while it runs
	millis int64  // start
}

// jobs reads jobs/ and, for folders, the jobs below. What has no config.xml is no job.
func (h home) jobs() ([]job, error) { return readJobs(filepath.Join(string(h), "jobs"), "") }

func readJobs(dir, prefix string) ([]job, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := []job{}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if _, err := os.Stat(filepath.Join(path, "config.xml")); err != nil {
			continue
		}
		j := job{dir: path, name: entry.Name(), fullName: prefix + entry.Name()}
		if info, err := os.Stat(filepath.Join(path, "jobs")); err == nil && info.IsDir() {
			j.folder = true
			if j.children, err = readJobs(filepath.Join(path, "jobs"), j.fullName+"/"); err != nil {
				return nil, err
			}
		} else if err := j.readBuilds(); err != nil {
			return nil, err
		}
		all = append(all, j)
	}
	return all, nil
}

func (j *job) readBuilds() error {
	entries, err := os.ReadDir(filepath.Join(j.dir, "builds"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		number, err := strconv.Atoi(entry.Name())
		if err != nil || !entry.IsDir() {
			continue
		}
		j.builds = append(j.builds, readBuild(filepath.Join(j.dir, "builds", entry.Name()), number))
	}
	sort.Slice(j.builds, func(a, b int) bool { return j.builds[a].number > j.builds[b].number })
	j.next = 1
	if data, err := os.ReadFile(filepath.Join(j.dir, "nextBuildNumber")); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
			j.next = n
		}
	}
	if len(j.builds) > 0 {
		j.next = max(j.next, j.builds[0].number+1) // as Jenkins mends a number that would collide
	}
	return nil
}

func readBuild(dir string, number int) build {
	b := build{number: number}
	data, err := os.ReadFile(filepath.Join(dir, "build.xml"))
	if err != nil {
		return b
	}
	var record struct {
		Result string `xml:"result"`
		Start  int64  `xml:"startTime"`
	}
	if xml.Unmarshal(declare10(data), &record) == nil {
		b.result, b.millis = record.Result, record.Start
	}
	return b
}

// find follows /job/A/job/B.
func find(jobs []job, names []string) (job, bool) {
	for _, j := range jobs {
		if j.name != names[0] {
			continue
		}
		if len(names) == 1 {
			return j, true
		}
		return find(j.children, names[1:])
	}
	return job{}, false
}

// firstJob is the first that can be built, depth first.
func firstJob(jobs []job) (job, bool) {
	for _, j := range jobs {
		if !j.folder {
			return j, true
		}
		if inner, ok := firstJob(j.children); ok {
			return inner, true
		}
	}
	return job{}, false
}

// plugin is one file in plugins/.
type plugin struct {
	Name    string `json:"shortName"`
	Version string `json:"version"`
	Active  bool   `json:"active"`
	Enabled bool   `json:"enabled"`
	Pinned  bool   `json:"pinned"`
	Update  bool   `json:"hasUpdate"`
	Bundled bool   `json:"bundled"`
	Deleted bool   `json:"deleted"`
}

func (h home) plugins() ([]plugin, error) {
	dir := filepath.Join(string(h), "plugins")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := []plugin{}
	for _, entry := range entries {
		suffix := filepath.Ext(entry.Name())
		if suffix != ".jpi" && suffix != ".hpi" || entry.IsDir() {
			continue
		}
		name := strings.TrimSuffix(entry.Name(), suffix)
		path := filepath.Join(dir, entry.Name())
		_, disabled := os.Stat(path + ".disabled")
		_, pinned := os.Stat(path + ".pinned")
		all = append(all, plugin{Name: name, Version: pluginVersion(dir, name, path), Active: disabled != nil, Enabled: disabled != nil, Pinned: pinned == nil})
	}
	return all, nil
}

// pluginVersion looks into the exploded plugin, then into its archive; a file that is neither has no version.
func pluginVersion(dir, name, path string) string {
	const manifest = "META-INF/MANIFEST.MF"
	if file, err := os.Open(filepath.Join(dir, name, manifest)); err == nil {
		defer file.Close()
		return manifestVersion(file)
	}
	archive, err := zip.OpenReader(path)
	if err != nil {
		return ""
	}
	defer archive.Close()
	file, err := archive.Open(manifest)
	if err != nil {
		return ""
	}
	defer file.Close()
	return manifestVersion(file)
}

func manifestVersion(r interface{ Read([]byte) (int, error) }) string {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if version, ok := strings.CutPrefix(lines.Text(), "Plugin-Version:"); ok {
			return strings.TrimSpace(version)
		}
	}
	return ""
}

// hasToken tells whether a password is one of the API tokens, of which the home holds sha256 sums in hex.
func (h home) hasToken(password string) bool {
	data, err := os.ReadFile(filepath.Join(string(h), "users", "tokens.sha256"))
	if err != nil {
		return false
	}
	sum := sha256.Sum256([]byte(password))
	want := hex.EncodeToString(sum[:])
	for line := range strings.Lines(string(data)) {
		if subtle.ConstantTimeCompare([]byte(strings.ToLower(strings.TrimSpace(line))), []byte(want)) == 1 {
			return true
		}
	}
	return false
}
