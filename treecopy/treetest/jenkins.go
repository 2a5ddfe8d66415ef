package treetest

import (
	"fmt"
	"path"
	"strings"
)

var usualPlugins = []Plugin{
	{"ant", "520.vd082ecfb_16a_9"},
	{"antisamy-markup-formatter", "173.v680e3a_b_69ff3"},
	{"cloudbees-folder", "6.1012.v79a_86a_1ea_c1f"},
	{"configuration-as-code", "1985.vdda_32d0c4ea_b_"},
	{"credentials", "1415.v831096eb_5534"},
	{"credentials-binding", "702.vfe613e537e88"},
	{"durable-task", "587.v84b_877235b_45"},
	{"git", "5.7.0"},
	{"git-client", "6.2.0"},
	{"jackson2-api", "2.19.0-404.vb_b_0fd2fea_e10"},
	{"job-dsl", "1.93"},
	{"junit", "1335.v6b_a_a_e18534e1"},
	{"kubernetes", "4360.v0e4b_1c40e9e5"},
	{"kubernetes-credentials", "203.v85b_9836a_a_44c"},
	{"mailer", "489.vd4b_25144138f"},
	{"matrix-auth", "3.2.6"},
	{"pipeline-stage-view", "2.38"},
	{"scm-api", "704.v3ce5c542825a_"},
	{"script-security", "1373.vb_b_4a_a_c26fa_00"},
	{"structs", "343.vdcf37b_a_c81d5"},
	{"timestamper", "1.29"},
	{"workflow-aggregator", "608.v67378e9d3db_1"},
	{"workflow-cps", "4106.v7a_8a_8176d450"},
	{"workflow-job", "1520.v56d65e3b_4566"},
}

// home plans the fixed part, then spends the rest of the budget: 78 % on builds, the rest on what surrounds them.
func (p *plan) home() {
	p.root()
	p.secrets()
	p.users()
	p.plugins()
	rest := max(0, p.o.Files-p.stats.Files)
	p.fingerprints(rest * 5 / 100)
	p.many(rest*3/100, "config-history/jobs", "config.xml", 2200)
	p.many(rest*3/100, "caches/git-"+p.hex(32)+"/objects", "obj", 3000)
	p.many(rest*7/100, "workspace", "Main.java", 4500)
	p.many(rest*4/100, "war/scripts", "page.js", 9000)
	p.jobs(p.o.Files)
}

func (p *plan) root() {
	p.text("config.xml", 0o644, xmlHead+"<hudson>\n  <disabledAdministrativeMonitors/>\n  <version>"+p.o.Version+
		"</version>\n  <numExecutors>2</numExecutors>\n  <mode>NORMAL</mode>\n  <useSecurity>true</useSecurity>\n</hudson>\n")
	for _, n := range []string{
		"credentials.xml", "hudson.model.UpdateCenter.xml", "hudson.plugins.git.GitTool.xml", "jenkins.model.JenkinsLocationConfiguration.xml",
		"jenkins.telemetry.Correlator.xml", "nodeMonitors.xml", "queue.xml", "scriptApproval.xml",
	} {
		p.filled(n, xmlHead+"<"+strings.TrimSuffix(n, ".xml")+" seed=\""+p.hex(8)+"\"/>\n", 400+p.rng.IntN(4000))
	}
	p.text("jenkins.install.InstallUtil.lastExecVersion", 0o644, p.o.Version)
	p.text("jenkins.install.UpgradeWizard.state", 0o644, p.o.Version)
	p.text("initialization-completed", 0o644, "")
	p.text("secret.key", 0o600, p.hex(64))
	p.text("secret.key.not-so-secret", 0o644, "")
	p.text("identity.key.enc", 0o600, p.hex(1600))
	p.text(".owner", 0o644, "1741282200000 7@jenkins-0\n")
	p.text("userContent/readme.txt", 0o644, "Files in this directory will be served under your http://yourjenkins/userContent/\n")
	p.text("init.groovy.d/quiet.groovy", 0o644, "println 'ready'\n")
	p.filled("logs/tasks/Fingerprint cleanup.log", "", 6000)
	p.filled("logs/audit.log.0", "", 60_000)
	p.filled("updates/default.json", "{", 900_000)
	p.filled("nodes/agent-1/config.xml", xmlHead+"<slave><name>agent-1</name></slave>\n", 0)
	p.filled("tools/hudson.tasks.Maven_MavenInstallation/maven-3/bin/mvn", "#!/bin/sh\n", 6000)
}

// secrets are 0600 in a 0700 directory, as Jenkins makes them.
func (p *plan) secrets() {
	p.dir("secrets", 0o700)
	p.text("secrets/master.key", 0o600, p.hex(256))
	for _, n := range []string{
		"hudson.util.Secret", "hudson.model.Job.serverCookie", "jenkins.model.Jenkins.crumbSalt", "initialAdminPassword",
		"org.jenkinsci.main.modules.instance_identity.InstanceIdentity.KEY", "slave-to-master-security-kill-switch",
	} {
		p.text("secrets/"+n, 0o600, p.hex(272))
	}
	p.dir("secrets/filepath-filters.d", 0o700)
	p.text("secrets/filepath-filters.d/30-default.conf", 0o600, "# none\n")
}

func (p *plan) users() {
	list := xmlHead + "<hudson.model.UserIdMapper><idToDirectoryNameMap>\n"
	for _, u := range []string{"admin", "deploy", "ada", "grace"} {
		d := u + "_" + p.hex(18)
		list += fmt.Sprintf("  <entry><string>%s</string><string>%s</string></entry>\n", u, d)
		p.filled("users/"+d+"/config.xml", xmlHead+"<user><fullName>"+u+"</fullName></user>\n", 900)
	}
	p.text("users/users.xml", 0o644, list+"</idToDirectoryNameMap></hudson.model.UserIdMapper>\n")
	if len(p.o.TokenSHA256) > 0 {
		p.text("users/tokens.sha256", 0o600, strings.Join(p.o.TokenSHA256, "\n")+"\n")
	}
}

// plugins are archives that only look like ones: the head names them, the rest is filler.
func (p *plan) plugins() {
	for _, pl := range p.o.Plugins {
		p.filled("plugins/"+pl.Name+".jpi", "PK\x03\x04"+pl.Name+" "+pl.Version+"\n", p.size(180_000, 0.7, 900_000))
		x := "plugins/" + pl.Name
		p.text(x+"/META-INF/MANIFEST.MF", 0o644, "Manifest-Version: 1.0\nShort-Name: "+pl.Name+"\nPlugin-Version: "+pl.Version+"\n")
		p.filled(x+"/WEB-INF/lib/"+pl.Name+".jar", "PK\x03\x04", p.size(120_000, 0.7, 700_000))
		p.filled(x+"/WEB-INF/licenses.xml", xmlHead, 2500)
	}
	p.text("plugins/ant.jpi.pinned", 0o644, "")
}

// fingerprints fan out by the first two bytes of an MD5.
func (p *plan) fingerprints(n int) {
	for range n {
		h := p.hex(32)
		p.filled(fmt.Sprintf("fingerprints/%x%s/%s.xml", h[0]&3, h[1:2], h), xmlHead+"<fingerprint/>\n", 700+p.rng.IntN(900))
	}
}

// many spreads n files over directories of 30.
func (p *plan) many(n int, dir, base string, median float64) {
	for i := range n {
		p.filled(fmt.Sprintf("%s/%s/%04d-%s", dir, p.shard(i/30), i, base), "", p.size(median, 0.8, 200_000))
	}
}

func (p *plan) shard(i int) string { return fmt.Sprintf("%02x/%02x", i>>4&0xff, i&0xf) }

var folders = []string{"", "platform", "platform/jobs/backend", "mobile"}

// jobs plans every job, then builds round after round until the budget of files is spent.
func (p *plan) jobs(budget int) {
	jobs := make([]string, p.o.Jobs)
	for i := range jobs {
		f := folders[i%len(folders)]
		if f != "" {
			p.folder(f)
		}
		jobs[i] = path.Join("jobs", strings.ReplaceAll(jobFolder(f), "//", "/"), fmt.Sprintf("service-%02d", i))
		p.filled(jobs[i]+"/config.xml", xmlHead+"<flow-definition plugin=\"workflow-job\">\n  <description/>\n</flow-definition>\n", 1500+p.rng.IntN(3000))
	}
	// Each job needs its nextBuildNumber and permalinks too.
	budget -= 2 * len(jobs)
	last := make([]int, len(jobs))
	for n := 1; p.stats.Files < budget || n == 1; n++ {
		for i, j := range jobs {
			if n > 1 && p.stats.Files >= budget {
				break
			}
			p.build(j, n)
			last[i] = n
		}
	}
	for i, j := range jobs {
		p.text(j+"/nextBuildNumber", 0o644, fmt.Sprintf("%d\n", last[i]+1))
		p.text(j+"/builds/permalinks", 0o644, fmt.Sprintf("lastCompletedBuild %d\nlastFailedBuild -1\nlastStableBuild %d\nlastSuccessfulBuild %[1]d\n", last[i], last[i]))
		if i%3 == 0 { // old homes keep the symlinks of former versions
			p.link(j+"/builds/lastSuccessfulBuild", fmt.Sprint(last[i]))
			p.link(j+"/builds/lastFailedBuild", "-1")
			p.link(j+"/lastSuccessful", "builds/lastSuccessfulBuild")
		}
	}
}

// jobFolder turns a/jobs/b into a/jobs/b/jobs.
func jobFolder(f string) string {
	if f == "" {
		return ""
	}
	return f + "/jobs"
}

func (p *plan) folder(f string) {
	c := "jobs/" + f + "/config.xml"
	if p.made["jobs/"+f] {
		return
	}
	if i := strings.Index(f, "/jobs/"); i > 0 {
		p.folder(f[:i])
	}
	p.text(c, 0o644, xmlHead+"<com.cloudbees.hudson.plugins.folder.Folder plugin=\"cloudbees-folder\"/>\n")
}

// build is one run of a pipeline: a log, a record and one file per flow node; some archive artifacts.
func (p *plan) build(job string, n int) {
	b := fmt.Sprintf("%s/builds/%d", job, n)
	p.filled(b+"/build.xml", xmlHead+"<flow-build plugin=\"workflow-job\">\n", p.size(6500, 0.5, 80_000))
	p.filled(b+"/log", "Started by user admin\n", p.size(34_000, 1.1, 3_000_000))
	p.filled(b+"/log-index", "", 200+p.rng.IntN(1500))
	if p.rng.IntN(3) > 0 {
		p.filled(fmt.Sprintf("%s/changelog%d.xml", b, p.rng.Uint32()), "", p.size(1500, 0.6, 40_000))
	}
	for node := range 8 + p.rng.IntN(16) {
		p.filled(fmt.Sprintf("%s/workflow/%d.xml", b, node+2), xmlHead+"<Tag plugin=\"workflow-support\">\n", p.size(1900, 0.6, 40_000))
	}
	if p.rng.IntN(4) == 0 {
		p.filled(b+"/junitResult.xml", xmlHead, p.size(40_000, 0.8, 600_000))
		p.filled(b+"/archive/target/app.jar", "PK\x03\x04", p.size(350_000, 0.8, 4_000_000))
	}
}

const xmlHead = "<?xml version='1.1' encoding='UTF-8'?>\n"
