import static org.junit.jupiter.api.Assertions.*

import groovy.json.JsonSlurper
import java.nio.file.Files
import java.nio.file.Path
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable
import org.junit.jupiter.api.io.TempDir

/**
 * Builds of the Jenkinsfile with the real pipectl, against a world that `pipectl rehearse --no-run` started; the variable names the file
 * that it wrote for a shell to source. rehearse.sh beside this starts it. Each build has a workspace of its own, as in a new pod.
 */
@EnabledIfEnvironmentVariable(named = 'PIPECTL_REHEARSAL_ENV', matches = '.+')
class RehearsedJenkinsfileTest {

    @TempDir
    Path dir
    int number

    private Build build(Map<String, String> params = [:], String from = null) {
        number++
        def build = new Build(dir.resolve("build${number}").toFile())
        copy(new File(Build.ROOT, 'pipelines').toPath(), new File(build.workspace, 'pipelines').toPath())
        Files.createSymbolicLink(new File(build.bin, 'pipectl').toPath(), new File(Build.ROOT, 'bin/pipectl').toPath())
        build.setup = [System.getenv('PIPECTL_REHEARSAL_ENV')]
        build.credentials = ['jenkins-token': System.getenv('PIPECTL_REHEARSAL_TOKEN')]
        build.params = params
        build.from = from
        build.atOnce = true
        def began = System.currentTimeMillis()
        build.run()
        println "build ${number} ${params} took ${(System.currentTimeMillis() - began) / 1000} s: ${build.result()} ${build.said}"
        assertEquals('SUCCESS', build.result(), "${build.said}")
        return build
    }

    private static void copy(Path from, Path to) {
        from.eachFileRecurse { if (Files.isRegularFile(it)) { Path t = to.resolve(from.relativize(it).toString()); Files.createDirectories(t.parent); Files.copy(it, t) } }
    }

    /** The stages of all results that a build left, with their status. */
    private static Map<String, String> stages(Build build) {
        def all = [:]
        new File(build.workspace, 'out').eachFileMatch(~/.*\.json/) { file ->
            new JsonSlurper().parse(file).stages.each { all[it.stage] = it.status }
        }
        return all
    }

    @Test
    void 'there, again, down and back'() {
        def first = build()
        assertEquals(1, first.asked.size(), 'the cut-over asks')
        assertEquals(['Succeeded'] as Set, stages(first).values() as Set, "${stages(first)}")
        assertEquals(10, stages(first).size())
        assertTrue(first.currentBuild.description ==~ /Jenkins: http.+/, first.currentBuild.description as String)
        first.reported.each { assertTrue(new File(first.workspace, it).text.contains('<testsuite'), it) }
        def token = System.getenv('PIPECTL_REHEARSAL_TOKEN')
        first.workspace.eachFileRecurse { if (it.file) { assertFalse(it.getText('ISO-8859-1').contains(token), "the token stands in ${it}") } }

        def again = build()
        assertEquals([], again.asked)
        assertEquals(['Skipped'] as Set, stages(again).values() as Set, "${stages(again)}")

        def restarted = build([:], 'Applications')
        assertEquals(['Skipped'] as Set, stages(restarted).values() as Set)

        def down = build([ACTION: 'down'])
        assertEquals(1, down.asked.size())

        def back = build()
        assertEquals([], back.asked, 'a finished move is never asked about again')
        assertEquals('Skipped', stages(back).cutover)
        assertEquals('Succeeded', stages(back).cluster)
    }
}
