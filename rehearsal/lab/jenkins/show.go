package jenkins

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

func containsMark(record []byte) bool { return bytes.Contains(record, []byte(mark)) }

// showJobs shows jobs whole: a caller's tree= asks for a part of this.
func showJobs(jobs []job, base string, now *running) []any {
	all := make([]any, 0, len(jobs))
	for _, j := range jobs {
		all = append(all, showJob(j, base, now))
	}
	return all
}

func showJob(j job, base string, now *running) map[string]any {
	shown := map[string]any{"name": j.name, "fullName": j.fullName, "displayName": j.name, "url": jobURL(base, j)}
	if j.folder {
		shown["_class"] = "com.cloudbees.hudson.plugins.folder.Folder"
		shown["jobs"] = showJobs(j.children, base, now)
		return shown
	}
	shown["_class"] = "hudson.model.FreeStyleProject"
	shown["buildable"], shown["inQueue"] = true, false
	shown["nextBuildNumber"] = j.next
	builds := []any{}
	for _, b := range j.builds {
		builds = append(builds, reference(j, b, base))
	}
	shown["builds"] = builds
	color := "notbuilt"
	for name, fits := range references {
		shown[name] = nil
		for _, b := range j.builds {
			if fits(b, isNow(j, b, now)) {
				shown[name] = reference(j, b, base)
				break
			}
		}
	}
	if len(j.builds) > 0 {
		color = map[string]string{"SUCCESS": "blue", "FAILURE": "red", "ABORTED": "aborted", "UNSTABLE": "yellow"}[j.builds[0].result]
		if isNow(j, j.builds[0], now) {
			color = "blue_anime"
		}
	}
	shown["color"] = color
	return shown
}

// references are the builds that a job names.
var references = map[string]func(b build, building bool) bool{
	"lastBuild":             func(build, bool) bool { return true },
	"lastCompletedBuild":    func(b build, building bool) bool { return !building },
	"lastSuccessfulBuild":   func(b build, building bool) bool { return b.result == "SUCCESS" || b.result == "UNSTABLE" },
	"lastStableBuild":       func(b build, building bool) bool { return b.result == "SUCCESS" },
	"lastFailedBuild":       func(b build, building bool) bool { return b.result == "FAILURE" },
	"lastUnsuccessfulBuild": func(b build, building bool) bool { return !building && b.result != "SUCCESS" },
}

func isNow(j job, b build, now *running) bool {
	return now != nil && now.job.fullName == j.fullName && now.number == b.number
}

func reference(j job, b build, base string) map[string]any {
	return map[string]any{"_class": "hudson.model.FreeStyleBuild", "number": b.number, "url": fmt.Sprintf("%s%d/", jobURL(base, j), b.number)}
}

// showNamedBuild shows a build by its number or by what it is.
func showNamedBuild(j job, name, base string, now *running) (any, int) {
	fits, named := references[name]
	number, err := strconv.Atoi(name)
	if !named && err != nil {
		return missing()
	}
	for _, b := range j.builds {
		building := isNow(j, b, now)
		if named && !fits(b, building) || !named && b.number != number {
			continue
		}
		shown := reference(j, b, base)
		shown["id"], shown["building"], shown["timestamp"] = strconv.Itoa(b.number), building, b.millis
		shown["fullDisplayName"] = fmt.Sprintf("%s #%d", j.fullName, b.number)
		shown["result"] = nil
		if building {
			shown["timestamp"] = now.began.UnixMilli()
		} else if b.result != "" {
			shown["result"] = b.result
		}
		return shown, http.StatusOK
	}
	return missing()
}

func jobURL(base string, j job) string {
	return base + "job/" + strings.ReplaceAll(j.fullName, "/", "/job/") + "/"
}
