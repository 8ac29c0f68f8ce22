use std::time::Duration;

use bulkhead_shared::Message;
use bulkhead_shared::client::{Client, ClientError};

fn main() -> Result<(), ClientError> {
    let client = Client::open("sqlite:bulkhead.db")?;
    let message = Message::new("greet")
        .arg("Ada")
        .kwarg("times", 2)
        .queue("greetings")
        .timeout(Duration::from_secs(5));
    let job = client.submit(message)?;
    let text: String = client.result_as(job, Some(Duration::from_secs(30)))?;
    println!("{text}");
    Ok(())
}
