import java.net.URI;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider;
import software.amazon.awssdk.services.sts.StsClient;

/** Asks STS who it is with the AWS SDK for Java v2; see ../README.md. */
public final class Whoami {
  public static void main(String[] args) throws InterruptedException {
    URI url = URI.create(args[0]);
    var byProfile = DefaultCredentialsProvider.builder().profileName(args[2]).build();
    List<StsClient> clients =
        List.of(
            StsClient.builder().endpointOverride(url).build(),
            StsClient.builder().endpointOverride(url).credentialsProvider(byProfile).build());
    Instant end = Instant.now().plus(Duration.ofSeconds(Long.parseLong(args[1])));
    int rounds = 0;
    for (; Instant.now().isBefore(end); rounds++) {
      for (StsClient client : clients) {
        client.getCallerIdentity();
      }
      Thread.sleep(1000);
    }
    System.out.println("java: rounds " + rounds);
  }
}
